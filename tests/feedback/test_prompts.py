"""The prompt library: loaded once, in fixed parts, and kept apart from what people voted on."""

import json
from pathlib import Path

import pytest

from db.engine import Database
from feedback.errors import InvalidPrompt
from feedback.preference import PromptPart
from feedback.prompts import load_prompts, prompts_of_part
from tests.factories import make_comparison, make_user, make_vote

Entry = tuple[str, str]


def write_prompts(folder: Path, entries: list[Entry]) -> Path:
    path = folder / "prompts.jsonl"
    lines = [
        {"id": f"p{number}", "part": part, "messages": [{"role": "user", "content": text}]}
        for number, (part, text) in enumerate(entries)
    ]
    path.write_text(
        "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n", encoding="utf-8"
    )
    return path


def load(database: Database, path: Path) -> int:
    with database.write() as session:
        return load_prompts(session=session, path=path)


def texts(
    database: Database, part: PromptPart, limit: int | None = None, source: str | None = None
) -> list[str]:
    with database.read() as session:
        prompts = prompts_of_part(session=session, part=part, limit=limit, source=source)
        return [prompt.messages[-1]["content"] for prompt in prompts]


def test_prompts_are_loaded_into_the_parts_the_file_says(database: Database, tmp_path: Path) -> None:
    path = write_prompts(
        tmp_path, [("training", "一"), ("ppo", "two"), ("heldout", "three"), ("ppo", "four")]
    )
    assert load(database, path) == 4
    assert texts(database, "training") == ["一"]
    assert texts(database, "ppo") == ["two", "four"]
    assert texts(database, "ppo", limit=1) == ["two"]
    assert texts(database, "heldout", source="bundled") == ["three"]
    assert texts(database, "heldout", source="import") == []


def test_loading_again_adds_only_what_is_new(database: Database, tmp_path: Path) -> None:
    load(database, write_prompts(tmp_path, [("training", "one"), ("ppo", "two")]))
    path = write_prompts(tmp_path, [("training", "one"), ("heldout", "two"), ("ppo", "three")])
    assert load(database, path) == 1
    assert load(database, path) == 0
    assert texts(database, "ppo") == ["two", "three"]


def test_a_prompt_that_stands_twice_in_the_file_is_loaded_once(database: Database, tmp_path: Path) -> None:
    assert load(database, write_prompts(tmp_path, [("training", "one"), ("training", "one")])) == 1


def test_an_empty_file_loads_nothing(sqlite_database: Database, tmp_path: Path) -> None:
    assert load(sqlite_database, write_prompts(tmp_path, [])) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Line 1 of the prompts in .*prompts.jsonl"),
        ("[]", "Line 1"),
        ('{"part": "training", "messages": []}', "do not end with one of role 'user'"),
        (
            '{"part": "train", "messages": [{"role": "user", "content": "a"}]}',
            "part is 'train'; use one of training",
        ),
        ('{"part": "ppo", "messages": [{"role": "robot", "content": "a"}]}', "role 'robot'"),
    ],
)
def test_a_broken_line_is_named(sqlite_database: Database, tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(line)
    with pytest.raises(InvalidPrompt, match=said):
        load(sqlite_database, path)


def test_prompts_that_people_voted_on_leave_ppo_and_heldout_but_not_training(
    database: Database, tmp_path: Path
) -> None:
    entries = [(part, f"{part} {number}") for part in ("training", "ppo", "heldout") for number in (1, 2)]
    load(database, write_prompts(tmp_path, entries))
    with database.write() as session:
        user = make_user(session=session)
        for part in ("training", "ppo", "heldout"):
            voted = make_comparison(session=session, user_id=user.id, prompt=f"{part} 1", source="api")
            make_vote(session=session, comparison=voted)
            make_comparison(session=session, user_id=user.id, prompt=f"{part} 2", source="api")
    assert texts(database, "training") == ["training 1", "training 2"]
    assert texts(database, "ppo") == ["ppo 2"]
    assert texts(database, "heldout") == ["heldout 2"]
