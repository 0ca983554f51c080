"""The prompt library: openings to compare answers to, to train PPO on and to judge with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from sqlalchemy.orm import Session

from db.queries.prompts import insert_missing_prompts, library_prompts
from db.tables import Prompt
from feedback.errors import InvalidPrompt
from feedback.preference import PromptPart, messages_from, prompt_hash

BUNDLED = "bundled"


def load_prompts(*, session: Session, path: Path) -> int:
    """Add the bundled prompts that the library lacks and say how many; the others keep their part.

    A line of the file is `{"id": …, "part": "training" | "ppo" | "heldout", "messages": […]}`.
    Raises InvalidPrompt, which names the line.
    """
    rows = {row["prompt_hash"]: row for row in _read_rows(path)}
    return insert_missing_prompts(session=session, rows=list(rows.values()))


def prompts_of_part(
    *, session: Session, part: PromptPart, limit: int | None = None, source: str | None = None
) -> list[Prompt]:
    """Prompts of a part, oldest first; of `ppo` and `heldout` only those that nobody voted on."""
    return library_prompts(
        session=session, part=part, source=source, limit=limit, is_unvoted=part != "training"
    )


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield _row(json.loads(line))
                except (ValueError, AttributeError, InvalidPrompt) as error:
                    raise InvalidPrompt(f"Line {number} of the prompts in {path}: {error}") from error


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    part, messages = entry.get("part"), messages_from(entry.get("messages") or [])
    if part not in get_args(PromptPart):
        raise InvalidPrompt(f"the part is {part!r}; use one of {', '.join(get_args(PromptPart))}.")
    if not messages or messages[-1].role != "user":
        raise InvalidPrompt("the messages do not end with one of role 'user'; add it.")
    return {
        "prompt_hash": prompt_hash(messages),
        "messages": [message.as_dict() for message in messages],
        "part": part,
        "source": BUNDLED,
    }
