"""The answers command on a tiny model: every prompt answered, histories made of the model's own answers."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import answers
from benchmarks.json_lines import write_json_lines
from tests.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, and the three files of prompts."""
    folder = tmp_path_factory.mktemp("answers")
    make_tiny_model(folder / "model", architecture="llama", context=256)
    opening = [{"role": "user", "content": "Hello! How are you?"}]
    write_json_lines(folder / "openings.jsonl", [{"id": f"o{i}", "messages": opening} for i in range(2)])
    turns = [
        {"id": "c1", "user_turns": ["Hi", "What is it?", "And you?"]},
        {"id": "c2", "user_turns": ["Yes"]},
    ]
    write_json_lines(folder / "conversations.jsonl", turns)
    write_json_lines(
        folder / "chinese.jsonl", [{"id": "z1", "messages": [{"role": "user", "content": "你好"}]}]
    )
    return folder


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Any:
    """Run the command as from a shell; return what it stored."""
    files = [
        argument
        for name in ("openings", "conversations", "chinese")
        for argument in (f"--{name}", f"{folder / name}.jsonl")
    ]
    out = folder / "out" / "answers.json"
    monkeypatch.setattr(
        sys, "argv", ["answers", "--model", str(folder / "model"), *files, "--out", str(out), *more]
    )
    answers.main()
    return json.loads(out.read_text(encoding="utf-8"))


def test_every_prompt_is_answered_and_a_turn_sees_the_answers_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = run(folder, monkeypatch, "--temperature", "1", "--top-p", "0.5")
    found = {(one["id"], one["turn"]): one for one in stored["answers"]}
    assert set(found) == {("o0", 1), ("o1", 1), ("c1", 1), ("c1", 2), ("c1", 3), ("c2", 1), ("z1", 1)}
    third = found["c1", 3]["messages"]
    assert [message["role"] for message in third] == ["user", "assistant", "user", "assistant", "user"]
    assert [message["content"] for message in third[::2]] == ["Hi", "What is it?", "And you?"]
    assert [message["content"] for message in third[1::2]] == [
        found["c1", 1]["answer"],
        found["c1", 2]["answer"],
    ]
    assert found["c2", 1]["messages"] == [{"role": "user", "content": "Yes"}]
    assert (stored["decoding"]["temperature"], stored["decoding"]["top_p"]) == (1.0, 0.5)
    assert {name: one["answers"] for name, one in stored["summary"].items()} == {
        "openings": 2,
        "all turns": 4,
        "third turns": 1,
        "Chinese": 1,
        "all": 7,
    }
    assert "third turns" in capsys.readouterr().out


def test_the_seed_decides_the_answers_and_two_prompts_of_the_same_words_differ(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again, other = (
        [one["answer"] for one in run(folder, monkeypatch, "--temperature", "1", "--seed", seed)["answers"]]
        for seed in ("0", "0", "1")
    )
    assert first == again != other
    assert first[0] != first[1]


def test_every_answer_may_take_eighty_tokens_though_the_history_no_longer_fits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = run(folder, monkeypatch, "--temperature", "1")
    assert max(one["tokens"] for one in stored["answers"]) == 80
    assert all(one["is_ended"] or one["tokens"] == 80 for one in stored["answers"])


def test_a_folder_that_asks_for_no_sampling_is_decoded_greedily(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = run(folder, monkeypatch)
    assert stored["decoding"]["temperature"] == 0.0
    assert stored["answers"][0]["answer"] == stored["answers"][1]["answer"]


def test_a_line_of_the_wrong_shape_is_named(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    path.write_text('{"id": "o1", "messages": []}\n{"id": "o2"}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match=r"openings.jsonl:2: an object with id, messages"):
        answers.read_openings(path, "opening")
