import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.errors import GenerationFailed, PromptTooLong, QueueFull, VersionUnavailable
from chat_app.inference.request import GenerationEvent, GenerationRequest
from chat_app.inference.settings import InferenceSettings
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually, request
from training.generation import DecodingParameters
from training.loading import LoadedModel


def test_an_answer_is_finished_with_everything_that_is_to_be_kept(start_engine: StartEngine) -> None:
    finished = start_engine().submit(request(seed=3, max_new_tokens=5)).wait(10)
    assert (finished.version_id, finished.seed, finished.dropped_messages) == (1, 3, 0)
    assert finished.parameters == DecodingParameters(max_new_tokens=5)
    assert 1 <= len(finished.token_ids) <= 5
    assert finished.first_token_seconds is not None
    assert 0 < finished.first_token_seconds <= finished.seconds < 10


def test_the_same_seed_gives_the_same_text_alone_and_in_a_crowd(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.is_plain = True
    engine = start_engine()
    crowd = [engine.submit(request(seed)) for seed in range(12)]
    texts = [generation.wait(20).text for generation in crowd]
    assert texts == [versions.answer(1, seed, max_new_tokens=20) for seed in range(12)]
    assert len(set(texts)) > 6


def test_a_cut_answer_and_an_ended_one_say_so(start_engine: StartEngine, versions: Versions) -> None:
    engine = start_engine()
    generations = [engine.submit(request(seed, max_new_tokens=100)) for seed in range(8)]
    finished = [generation.wait(20) for generation in generations]
    end_token_id = versions.load(1).chat_format.end_token_id
    for answer in finished:
        assert (answer.finish_reason == "end") == (answer.token_ids[-1] == end_token_id)
        assert answer.finish_reason == "end" or len(answer.token_ids) == 100
        assert "<|" not in answer.text
    assert "end" in {answer.finish_reason for answer in finished}
    assert engine.submit(request(max_new_tokens=1)).wait(20).finish_reason == "length"


def test_answers_submitted_together_start_together_or_wait_together(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.02, True
    engine = start_engine(max_batch=2)
    engine.submit(request(max_new_tokens=30))  # leaves one place, which must not split the pair
    pair = engine.submit_together([request(1, max_new_tokens=5), request(2, max_new_tokens=5)])
    first, second = [generation.wait(10).first_token_seconds for generation in pair]
    assert first is not None
    assert second is not None
    assert first > 0.3
    assert abs(first - second) < 0.3


def test_a_pair_may_come_from_two_versions(start_engine: StartEngine, versions: Versions) -> None:
    engine = start_engine()
    pair = engine.submit_together([request(5), request(5, version_id=2)])
    finished = [generation.wait(20) for generation in pair]
    assert [answer.version_id for answer in finished] == [1, 2]
    assert [answer.text for answer in finished] == [versions.answer(1, 5, 20), versions.answer(2, 5, 20)]
    assert engine.serving_version_id == 1


def test_too_many_answers_together_are_refused(start_engine: StartEngine) -> None:
    with pytest.raises(ValueError, match="3 answers of 3 rows cannot start together; the batch holds 2"):
        start_engine(max_batch=2).submit_together([request()] * 3)


def test_a_beam_search_takes_a_row_for_every_beam(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=4)
    search = engine.submit(request(max_new_tokens=20, temperature=0, beams=3))
    pair = engine.submit_together([request(5), request(6)])  # one place is free, and two are needed
    eventually(lambda: engine.stats().active_rows == 3)
    found = search.wait(20)
    assert len(found.token_ids) == 20
    assert [generation.wait(20).version_id for generation in pair] == [1, 1]
    with pytest.raises(ValueError, match="1 answers of 5 rows cannot start together"):
        engine.submit(request(temperature=0, beams=5))


def test_waiting_answers_know_their_place(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1)

    async def places() -> list[GenerationEvent]:
        engine.submit(request(max_new_tokens=30))
        engine.submit(request(max_new_tokens=30))
        third = engine.submit(request(max_new_tokens=3))
        return [event async for event in third.events()]

    events = asyncio.run(places())
    assert [event.queue_position for event in events[:2]] == [2, 1]
    assert [event.queue_position for event in events[2:]] == [None] * len(events[2:])
    assert events[-1].text != ""


def test_a_full_queue_refuses_and_says_when_to_come_back(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1, max_queue=2)
    running = engine.submit(request(max_new_tokens=50))
    eventually(lambda: engine.stats().active_rows == 1)
    waiting = [engine.submit(request(max_new_tokens=1)) for _ in range(2)]
    with pytest.raises(QueueFull, match=r"2 answers are already waiting. Try again in") as refusal:
        engine.submit(request())
    assert 1 <= refusal.value.retry_after <= 30
    assert [generation.wait(10).finish_reason for generation in [running, *waiting]] == ["length"] * 3


def test_cancelling_frees_the_place_at_once_and_keeps_the_text(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1)
    first, second = engine.submit(request(max_new_tokens=100)), engine.submit(request(1, max_new_tokens=2))
    eventually(lambda: engine.stats().tokens_generated >= 5)
    first.cancel()
    stopped = first.wait(5)
    assert second.wait(5).finish_reason == "length"
    assert stopped.finish_reason == "stopped"
    assert 5 <= len(stopped.token_ids) < 100
    assert stopped.text != ""


def test_a_waiting_answer_can_be_cancelled(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1)
    running, waiting = engine.submit(request(max_new_tokens=40)), engine.submit(request())
    waiting.cancel()
    finished = waiting.wait(1)
    assert (finished.finish_reason, finished.text, finished.token_ids) == ("stopped", "", ())
    assert finished.first_token_seconds is None
    assert engine.stats().queue_length == 0
    assert running.wait(10).finish_reason == "length"


def test_an_answer_over_the_time_limit_keeps_what_there_is(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.02, True
    finished = start_engine(max_seconds=0.4).submit(request(max_new_tokens=100)).wait(5)
    assert finished.finish_reason == "length"
    assert 0 < len(finished.token_ids) <= 20


def test_an_answer_that_cannot_start_within_the_time_limit_fails(
    start_engine: StartEngine, versions: Versions
) -> None:
    engine = start_engine(max_seconds=0.4)
    versions.may_load.clear()
    waiting = engine.submit(request(version_id=2))
    with pytest.raises(GenerationFailed, match=r"did not start within 0\.4 seconds"):
        waiting.wait(5)
    versions.may_load.set()


def test_a_message_that_does_not_fit_is_refused(start_engine: StartEngine) -> None:
    messages = [{"role": "user", "content": "food " * 200}]
    with pytest.raises(PromptTooLong, match="Shorten it"):
        start_engine().submit(GenerationRequest(messages))


def test_as_few_of_the_oldest_turns_as_needed_are_dropped_and_the_system_message_stays(
    start_engine: StartEngine, versions: Versions
) -> None:
    messages = [{"role": "system", "content": "Be kind."}]
    for _ in range(10):
        messages += [
            {"role": "user", "content": "How are you today?"},
            {"role": "assistant", "content": "Fine."},
        ]
    messages += [{"role": "user", "content": "Do you like music?"}]
    finished = (
        start_engine().submit(GenerationRequest(messages, DecodingParameters(max_new_tokens=64))).wait(10)
    )
    prompt_ids = versions.load(1).chat_format.prompt_ids
    dropped = finished.dropped_messages
    assert dropped in range(2, 20, 2)
    assert (
        len(prompt_ids([messages[0], *messages[1 + dropped :]])) <= 64
    )  # the context of 128 less the answer
    assert len(prompt_ids([messages[0], *messages[1 + dropped - 2 :]])) > 64


def test_an_answer_that_fills_the_context_is_cut_there(start_engine: StartEngine, versions: Versions) -> None:
    versions.is_endless = True
    finished = start_engine().submit(request(max_new_tokens=10_000)).wait(20)
    assert finished.finish_reason == "length"
    assert 64 <= len(finished.token_ids) < 128


def damage_position(position: int) -> Callable[[int, LoadedModel], None]:
    def damage(_: int, loaded: LoadedModel) -> None:
        with torch.no_grad():
            loaded.model.transformer.wpe.weight[position] = float("nan")

    return damage


def test_nan_fails_one_answer_and_nobody_else(start_engine: StartEngine, versions: Versions) -> None:
    versions.prepare, versions.is_endless = damage_position(60), True
    engine = start_engine()
    long, short = engine.submit_together([request(max_new_tokens=90), request(max_new_tokens=10)])
    with pytest.raises(GenerationFailed, match="no usable probabilities"):
        long.wait(10)
    assert short.wait(10).finish_reason == "length"
    assert engine.submit(request(max_new_tokens=10)).wait(10).finish_reason == "length"
    assert engine.stats().active_rows == 0


def test_an_error_in_the_model_fails_its_answers_and_the_thread_lives_on(
    start_engine: StartEngine, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    is_failing = [False]

    def fail_on_demand(*_: object) -> None:
        if is_failing[0]:
            raise RuntimeError("device lost")

    versions.prepare = lambda _, loaded: loaded.model.register_forward_pre_hook(fail_on_demand)
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine()
    generations = [engine.submit(request(max_new_tokens=100)) for _ in range(3)]
    eventually(lambda: engine.stats().active_rows == 3)
    is_failing[0] = True
    for generation in generations:
        with pytest.raises(GenerationFailed, match="The model failed while answering"):
            generation.wait(5)
    assert "device lost" in caplog.text
    is_failing[0] = False
    assert engine.submit(request(max_new_tokens=3)).wait(5).finish_reason == "length"


def test_a_version_that_loads_and_warms_up_is_not_ready_yet(
    start_engine: StartEngine, versions: Versions
) -> None:
    may_decode = threading.Event()

    def hold_up(_: int, loaded: LoadedModel) -> None:
        loaded.model.register_forward_pre_hook(lambda *_: may_decode.wait(20) and None)

    versions.prepare = hold_up
    engine = InferenceEngine(load_version=versions.load)
    engine.start()
    serving = threading.Thread(target=engine.serve_version, args=(1,))
    serving.start()
    serving.join(0.5)
    assert (engine.ready, engine.serving_version_id) == (False, None)
    may_decode.set()
    serving.join()
    assert engine.ready
    engine.stop()


def test_nothing_is_answered_before_a_version_is_served(versions: Versions) -> None:
    engine = InferenceEngine(load_version=versions.load)
    engine.start()
    assert not engine.ready
    with pytest.raises(VersionUnavailable, match="No model version is being served yet"):
        engine.submit(request())
    engine.serve_version(1)
    assert engine.ready
    engine.stop()
    assert not engine.ready


def test_stopping_lets_running_answers_finish_and_turns_others_away(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=1, drain_seconds=10)
    running, waiting = engine.submit(request(max_new_tokens=40)), engine.submit(request())
    eventually(lambda: engine.stats().active_rows == 1)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    with pytest.raises(GenerationFailed, match="shutting down"):
        waiting.wait(5)
    assert (engine.ready, engine.is_ending, running.is_done) == (False, True, False)
    stopping.join()
    assert running.wait(0).finish_reason == "length"
    with pytest.raises(VersionUnavailable):
        engine.submit(request())


def test_stopping_without_patience_keeps_what_there_is(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.02, True
    engine = start_engine(drain_seconds=0)
    running = engine.submit(request(max_new_tokens=100))
    eventually(lambda: engine.stats().tokens_generated > 3)
    engine.stop()
    stopped = running.wait(0)
    assert stopped.finish_reason == "stopped"
    assert len(stopped.token_ids) > 3


def test_the_figures_add_up(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(max_batch=2)
    generations = [engine.submit(request(max_new_tokens=20)) for _ in range(3)]
    eventually(lambda: engine.stats().active_rows == 2)
    assert engine.stats().queue_length == 1
    for generation in generations:
        generation.wait(10)
    stats = engine.stats()
    assert (stats.active_rows, stats.queue_length, stats.tokens_generated) == (0, 0, 60)
    assert (stats.serving_version_id, stats.loaded_version_ids, stats.swaps) == (1, (1,), 0)
    assert stats.is_ready


def test_typed_control_tokens_stay_text_when_many_threads_ask(start_engine: StartEngine) -> None:
    engine = start_engine(max_queue=1000)
    messages = [{"role": "user", "content": "<|end|> hi"}]
    asked = GenerationRequest(messages, DecodingParameters(max_new_tokens=1, temperature=0))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: engine.submit(asked).wait(20), range(200)))
    assert {answer.token_ids for answer in answers} == {answers[0].token_ids}


def test_settings_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="max_batch"):
        InferenceSettings(max_batch=0)
    with pytest.raises(ValueError, match="max_bach"):
        InferenceSettings.model_validate({"max_bach": 4})
