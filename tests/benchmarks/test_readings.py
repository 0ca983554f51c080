"""From two models' answers to a blind sheet, and from two readers' ratings to shares, agreement and a page."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readings
from benchmarks.json_lines import read_json_lines, write_json_lines

Arguments = list[str]


def stored(name: str) -> dict[str, Any]:
    """What `benchmarks.answers` stores, in little; every answer names its model and prompt."""

    def one(id_: str, kind: str, turn: int, *said: str) -> dict[str, Any]:
        roles = ["user", "assistant"] * 3
        messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
        return {"id": id_, "kind": kind, "turn": turn, "messages": messages, "answer": f"{name} to {id_}"}

    return {
        "answers": [
            one("o1", "opening", 1, "Hello | *there*"),
            one("o2", "opening", 1, "Why?"),
            one("c1", "conversation", 1, "One"),
            one("c1", "conversation", 2, "One", f"{name}, first", "Two"),
            one("c1", "conversation", 3, "One", f"{name}, first", "Two", f"{name}, second", "Three"),
            one("z1", "chinese", 1, "你好"),
        ]
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sheet and a key of the models "new" and "old"; results are stored beside them."""
    monkeypatch.setattr("benchmarks.results.FOLDER", tmp_path)
    for name in ("new", "old"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stored(name)), encoding="utf-8")
    named = [
        argument for name in ("new", "old") for argument in ("--answers", f"{name}={tmp_path / name}.json")
    ]
    run(
        monkeypatch,
        *("make-sheet", *named, "--sheet", str(tmp_path / "sheet.md"), "--key", str(tmp_path / "key.jsonl")),
    )
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["readings", *arguments])
    readings.main()


def rate(folder: Path, reader: str, rating_of: dict[tuple[str, str], str]) -> None:
    """Write a reader's file: a rating by model and prompt, else "nonsense"."""
    key = read_json_lines(folder / "key.jsonl")
    write_json_lines(
        folder / f"{reader}.jsonl",
        [
            {"id": one["id"], "rating": rating_of.get((one["model"], one["source_id"]), "nonsense")}
            for one in key
        ],
    )


def scoring(folder: Path) -> Arguments:
    files = [argument for reader in "AB" for argument in ("--ratings", str(folder / f"{reader}.jsonl"))]
    return ["score", "--key", str(folder / "key.jsonl"), *files, "--docs", str(folder / "page.md")]


def test_the_sheet_holds_openings_third_turns_and_chinese_of_both_and_names_no_model(folder: Path) -> None:
    key = read_json_lines(folder / "key.jsonl")
    assert sorted((one["model"], one["source_id"], len(one["messages"])) for one in key) == [
        *(("new", "c1", 5), ("new", "o1", 1), ("new", "o2", 1), ("new", "z1", 1)),
        *(("old", "c1", 5), ("old", "o1", 1), ("old", "o2", 1), ("old", "z1", 1)),
    ]
    assert [one["id"] for one in key] == [f"r00{number}" for number in range(1, 9)]
    assert [one["model"] for one in key] != ["new"] * 4 + ["old"] * 4
    entries = (folder / "sheet.md").read_text(encoding="utf-8").split("\n## ")[1:]
    for entry, one in zip(entries, key, strict=True):
        body = entry.replace(one["answer"], "").replace(f"{one['model']}, first", "")
        assert entry.startswith(one["id"])
        assert one["answer"] in entry
        assert one["source_id"] not in body


def test_ratings_are_joined_with_the_models_that_the_readers_did_not_know(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rate(folder, "A", {("new", "o1"): "sensible", ("new", "o2"): "sensible", ("old", "z1"): "so-so"})
    rate(folder, "B", {("new", "o1"): "sensible", ("new", "o2"): "so-so", ("new", "c1"): "so-so"})
    run(monkeypatch, *scoring(folder))
    row = json.loads((folder / "readings.json").read_text(encoding="utf-8"))
    assert (row["value"], row["baseline"]) == (0.75, "old: 0.000")
    shares = {
        (one["kind"], one["model"], one["reader"]): {
            name: found["share"] for name, found in one["shares"].items()
        }
        for one in row["detail"]["verdicts"]
    }
    assert len(shares) == 18
    assert shares["openings", "new", "A"] == {"sensible": 1.0, "so-so": 0.0, "nonsense": 0.0}
    assert shares["openings", "new", "B"] == {"sensible": 0.5, "so-so": 0.5, "nonsense": 0.0}
    assert shares["third turns", "new", "both"] == {"sensible": 0.0, "so-so": 0.5, "nonsense": 0.5}
    assert shares["Chinese", "old", "both"] == {"sensible": 0.0, "so-so": 0.5, "nonsense": 0.5}
    assert row["detail"]["agreement"]["all"]["raw"] == 5 / 8
    assert row["detail"]["agreement"]["openings"]["raw"] == 3 / 4
    assert "linearly weighted" in capsys.readouterr().out


def test_the_page_shows_every_answer_with_both_ratings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate(folder, "A", {("new", "o1"): "sensible"})
    rate(folder, "B", {("new", "o1"): "sensible", ("new", "o2"): "so-so"})
    run(monkeypatch, *scoring(folder))
    page = (folder / "page.md").read_text(encoding="utf-8")
    assert r"| o1 | Hello \| \*there\* | new to o1 | sensible | old to o1 | nonsense |" in page
    assert "| o2 | Why? | new to o2 | nonsense / so-so | old to o2 | nonsense |" in page
    assert "| z1 | 你好 | new to z1 | nonsense | old to z1 | nonsense |" in page
    assert "**c1, old**, last answer rated nonsense\n\n> Person: One\n>\n> Model: old, first\n" in page


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "r001", "rating": "sensible"}', "rates r001 twice"),
        ('{"id": "r009", "rating": "sensible"}', "1 that the key lacks .r009"),
        ('{"id": "r009", "rating": "good"}', 'rates r009 "good"; use one of'),
        ("r001 sensible", r"A.jsonl:9: not JSON"),
    ],
)
def test_a_rating_that_cannot_be_right_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    rate(folder, "A", {})
    rate(folder, "B", {})
    with (folder / "A.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *scoring(folder))


def test_an_answer_without_a_rating_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate(folder, "A", {})
    rate(folder, "B", {})
    lines = (folder / "B.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "B.jsonl").write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"B.jsonl lacks 1 of 8 answers \(r001\)"):
        run(monkeypatch, *scoring(folder))


def test_a_model_that_is_not_in_the_key_has_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rate(folder, "A", {})
    rate(folder, "B", {})
    with pytest.raises(SystemExit, match='no answer to openings by "other"'):
        run(monkeypatch, *scoring(folder), "--of", "other")
