"""Concurrent streams, rollouts and the time of a token: the pure parts, and each benchmark on a tiny model."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import rollouts, streams, token_time
from benchmarks.alternated import alternated, median_and_spread, ratios
from benchmarks.chat_prompts import draw_prompts
from benchmarks.generate_sides import FirstToken, left_padded
from benchmarks.stopwatch import Part, Stopwatch
from benchmarks.streams_run import StreamsRun, first_token_percentile, percentile
from tests.tiny_model import make_tiny_model
from training.chat_format import ChatFormat
from training.loading import load_language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), architecture="llama")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("benchmarks.results.FOLDER", tmp_path)
    return tmp_path


def test_sides_take_turns_in_who_is_first_and_warm_up_before() -> None:
    calls: list[str] = []

    def side(name: str, number: int) -> int:
        calls.append(f"{name}{number}")
        return 10 * number

    found = alternated({"a": lambda number: side("a", number), "b": lambda number: side("b", number)}, 3)

    assert calls == ["a-1", "b-1", "a0", "b0", "b1", "a1", "a2", "b2"]
    assert found == {"a": [0, 10, 20], "b": [0, 10, 20]}


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([6.0, 8.0, 9.0], [2.0, 4.0, 2.0]) == [3.0, 2.0, 4.5]
    assert median_and_spread([3.0, 2.0, 4.5]) == "3.00 (2.00 to 4.50)"


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(20, 0, -1)]  # 1 to 20

    assert (percentile(values, 0.5), percentile(values, 0.95), percentile([3.0], 0.95)) == (10.0, 19.0, 3.0)


def test_first_tokens_of_all_rounds_count_together() -> None:
    runs = [StreamsRun(8, 2.0, (0.1, 0.4)), StreamsRun(8, 4.0, (0.2, 0.3))]

    assert first_token_percentile(runs, 0.5) == 0.2
    assert [run.tokens_per_second for run in runs] == [4.0, 2.0]


def test_prompts_are_the_same_for_a_seed_and_end_with_a_person(folder: Path, tmp_path: Path) -> None:
    chat_format = ChatFormat.from_folder(folder)
    turns = [
        {"role": role, "content": f"{role} {number}"} for number in range(3) for role in ("user", "assistant")
    ]
    lines = "".join(json.dumps({"messages": turns}) + "\n" for _ in range(20))
    (tmp_path / "talks.jsonl").write_text(lines)

    drawn = draw_prompts(chat_format, 10, seed=1, max_tokens=40, folder=tmp_path)

    assert drawn == draw_prompts(chat_format, 10, seed=1, max_tokens=40, folder=tmp_path)
    assert drawn != draw_prompts(chat_format, 10, seed=2, max_tokens=40, folder=tmp_path)
    assert {prompt.messages[-1]["role"] for prompt in drawn} == {"user"}
    assert all(list(prompt.token_ids) == chat_format.prompt_ids(prompt.messages) for prompt in drawn)
    assert max(len(prompt.token_ids) for prompt in drawn) <= 40
    with pytest.raises(ValueError, match="gives 20 prompts of at most 128 tokens, and 21 are wanted"):
        draw_prompts(chat_format, 21, seed=1, max_tokens=128, folder=tmp_path)


def test_the_baselines_batch_is_padded_on_the_left(folder: Path) -> None:
    loaded = load_language_model(folder)
    pad = loaded.chat_format.pad_token_id

    ids, mask = left_padded(loaded, [[7, 8, 9], [5]])

    assert ids.tolist() == [[7, 8, 9], [pad, pad, 5]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_the_prompt_that_generate_hands_over_is_no_first_token() -> None:
    first = FirstToken()

    first.put(torch.tensor([[1, 2]]))
    assert first.at is None
    first.put(torch.tensor([3]))
    at = first.at
    assert at is not None
    first.put(torch.tensor([4]))
    assert first.at == at


def test_a_stopwatch_takes_off_what_inner_functions_count_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    class Work:
        def outer(self) -> None:
            clock[0] += 1
            self.inner()
            self.whole()
            clock[0] += 2

        def inner(self) -> None:
            clock[0] += 10

        def whole(self) -> None:
            clock[0] += 100
            self.inner()

    watch = Stopwatch()
    parts = [Part("outer", Work, "outer"), Part("inner", Work, "inner"), Part("whole", Work, "whole", True)]
    with watch.on(parts):
        Work().outer()
    Work().outer()

    assert watch.seconds == {"outer": 3.0, "inner": 10.0, "whole": 110.0}


def test_parts_of_a_token_add_up_to_the_clock_but_for_the_readers_thread() -> None:
    seconds = {"head": 0.2, "projections": 0.5, token_time.READERS: 0.1}

    assert token_time.by_token(seconds, 1.0, 1000) == pytest.approx(
        {"projections": 500.0, "head": 200.0, token_time.REST: 300.0, token_time.READERS: 100.0}
    )


def test_streams_are_measured_and_stored(
    folder: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["streams", "--model", str(folder), "--streams", "16", "--new-tokens", "3", "--pairs", "1"]
    sides = ["--baseline", "generate behind a lock", "generate, padded"]
    monkeypatch.setattr(sys, "argv", [*arguments, *sides])

    streams.main()

    p3, p5 = (json.loads((results / f"{row}.json").read_text()) for row in ("P3", "P5"))
    [line] = p3["detail"]["lines"]
    assert list(line["sides"]) == ["engine", "generate behind a lock", "generate, padded"]
    assert line["sides"]["generate behind a lock"]["ratios"][0] == pytest.approx(p3["value"], abs=0.01)
    assert (p3["unit"], p5["unit"]) == ("times", "seconds")
    assert p5["value"] == pytest.approx(line["sides"]["engine"]["first_token_p95"], abs=0.001)


def test_rows_that_are_held_against_the_lock_need_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["streams", "--baseline", "generate, padded"])

    with pytest.raises(SystemExit):
        streams.main()
    assert 'held against "generate behind a lock"' in capsys.readouterr().err


def test_rollouts_are_measured_with_and_without_logprobs(
    folder: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["--batch", "3", "--new-tokens", "4", "--pairs", "1"]
    monkeypatch.setattr(sys, "argv", ["rollouts", "--model", str(folder), *few])

    rollouts.main()

    detail = json.loads((results / "rollouts.json").read_text())["detail"]
    assert [len(detail[case]["ours"]) for case in ("without_logprobs", "with_logprobs")] == [1, 1]
    assert detail["our_precision"] == "float32"


def test_the_time_of_a_token_is_told_by_parts(
    folder: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ["--streams", "2", "--new-tokens", "6"]
    monkeypatch.setattr(sys, "argv", ["token_time", "--model", str(folder), *few])

    token_time.main()

    parts = json.loads((results / "token-time.json").read_text())["detail"]["microseconds_per_token"]["2"]
    forward = {"projections", "attention, with its memory", "head", "norms, rotation, activation, sums"}
    around = {"sampling and log-probabilities", "reading prompts", "engine: telling readers"}
    assert forward | around <= set(parts)
    assert all(parts[part] > 0 for part in forward | around)
