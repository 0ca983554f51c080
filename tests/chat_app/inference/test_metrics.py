"""The figures for Prometheus, read as a scraper reads them."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.errors import PromptTooLong, TooManyWaiting, VersionUnavailable
from chat_app.inference.metrics import TokenPace
from chat_app.inference.request import GenerationRequest
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually, request

Figures = dict[str, float]


def figures(engine: InferenceEngine) -> Figures:
    """Every sample by its name and labels, as `rapport_answers_total finish_reason=end`."""
    families = text_string_to_metric_families(generate_latest(engine.metrics.registry).decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        " ".join([one.name, *(f"{name}={value}" for name, value in one.labels.items())]): one.value
        for one in samples
    }


def test_answers_tokens_waits_and_steps_are_counted(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.005, True
    engine = start_engine(max_batch=2)
    for generation in [engine.submit(request(max_new_tokens=20)) for _ in range(3)]:
        generation.wait(20)
    cancelled = engine.submit(request(max_new_tokens=100))
    eventually(lambda: engine.stats().tokens_generated > 60)
    cancelled.cancel()
    tokens = 60 + len(cancelled.wait(5).token_ids)
    seen = figures(engine)
    assert seen["rapport_tokens_generated_total"] == tokens
    assert seen["rapport_step_rows_sum"] == tokens
    assert seen["rapport_step_rows_bucket le=1.0"] < seen["rapport_step_rows_bucket le=2.0"]
    assert seen["rapport_step_rows_bucket le=2.0"] == seen["rapport_step_rows_count"]
    assert seen["rapport_answers_total finish_reason=length"] == 3
    assert seen["rapport_answers_total finish_reason=stopped"] == 1
    assert seen["rapport_answers_total finish_reason=end"] == 0
    assert seen["rapport_queue_seconds_count"] == seen["rapport_time_to_first_token_seconds_count"] == 4
    assert 0.1 < seen["rapport_queue_seconds_sum"] < seen["rapport_time_to_first_token_seconds_sum"]


def test_failures_and_stop_strings_have_their_own_endings(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.is_endless = True
    engine = start_engine()
    text = engine.submit(request()).wait(10).text
    stopped = GenerationRequest(request().prompt, request().parameters, stop_strings=(text[5],))
    engine.submit(stopped).wait(10)
    versions.folders.pop(2)
    with pytest.raises(Exception, match="Version 2 cannot be loaded"):
        engine.submit(request(version_id=2)).wait(10)
    seen = figures(engine)
    assert seen["rapport_answers_total finish_reason=stop_string"] == 1
    assert seen["rapport_answers_total finish_reason=failed"] == 1


def test_refusals_are_counted_by_their_reason(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1, max_waiting_per_person=1)
    engine.submit(request(max_new_tokens=100))
    eventually(lambda: engine.stats().active_rows == 1)
    engine.submit(request())
    with pytest.raises(TooManyWaiting):
        engine.submit(request())
    with pytest.raises(TooManyWaiting):
        engine.check_room("", 1)
    with pytest.raises(PromptTooLong):
        engine.submit(GenerationRequest([{"role": "user", "content": "food " * 200}], asker="other"))
    engine.stop()
    with pytest.raises(VersionUnavailable):
        engine.submit(request())
    seen = figures(engine)
    assert seen["rapport_requests_refused_total reason=person_limit"] == 2
    assert seen["rapport_requests_refused_total reason=prompt_too_long"] == 1
    assert seen["rapport_requests_refused_total reason=version_unavailable"] == 1
    assert seen["rapport_requests_refused_total reason=queue_full"] == 0


def test_queue_batch_versions_and_memory_are_read_at_the_moment(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=2, spare_versions=0)
    engine.submit_together([request(max_new_tokens=90)] * 2)
    eventually(lambda: engine.stats().active_rows == 2)
    engine.submit_together([request()] * 2)
    engine.submit(request())
    engine.serve_version(2)
    seen = figures(engine)
    assert (seen["rapport_running_rows"], seen["rapport_waiting_answers"]) == (2, 3)
    assert seen["rapport_waiting_groups"] == 2
    assert (seen["rapport_ready"], seen["rapport_serving_version"]) == (1, 2)
    assert seen["rapport_version_swaps_total"] == 1
    weights = sum(parameter.nbytes for parameter in versions.load(1).model.parameters())
    assert seen["rapport_version_weight_bytes version=1"] >= weights  # it finishes the running answers
    assert seen["rapport_version_weight_bytes version=2"] >= weights
    assert 10_000_000 < seen["process_resident_memory_bytes"] < 100_000_000_000


def test_two_engines_in_a_process_count_for_themselves(start_engine: StartEngine) -> None:
    first, second = start_engine(), start_engine()
    first.submit(request(max_new_tokens=3)).wait(10)
    assert figures(first)["rapport_tokens_generated_total"] > 0
    assert figures(second)["rapport_tokens_generated_total"] == 0


def test_the_pace_is_the_mean_of_the_last_ten_whole_seconds() -> None:
    now = [1000.0]
    pace = TokenPace(lambda: now[0])
    assert pace.per_second() == 0
    for second in range(5):
        now[0] = 1000.5 + second
        pace.add(30)
        pace.add(20)
    assert pace.per_second() == 20  # four whole seconds of 50; the fifth is not over
    now[0] = 1009
    assert pace.per_second() == 25
    now[0] = 1012
    assert pace.per_second() == 15
    now[0] = 1060
    pace.add(7)
    now[0] = 1061
    assert pace.per_second() == 0.7
