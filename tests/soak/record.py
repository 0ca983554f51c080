"""What the service has stored of a soak: every answer with its version, tokens and prompt; and its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from db.engine import Database
from db.tables import Completion, Message


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as the database has it; `prompt` is the branch above it, from the first message on."""

    completion_id: int
    version_id: int
    token_ids: tuple[int, ...]
    text: str
    finish_reason: str
    max_new_tokens: int
    first_token_seconds: float | None
    seconds: float
    stored_at: datetime
    prompt: tuple[dict[str, str], ...]


def stored_answers(database: Database) -> list[StoredAnswer]:
    """All answers in the order of their storing, those of deleted conversations too."""
    with database.read() as session:
        messages = {message.id: message for message in session.scalars(select(Message))}
        completions = {row.id: row for row in session.scalars(select(Completion))}
    answers = [message for message in messages.values() if message.completion_id is not None]
    return [
        _answer(completions[message.completion_id], _branch(messages, message.parent_id))
        for message in answers
        if message.completion_id is not None
    ]


def _branch(messages: dict[int, Message], leaf_id: int | None) -> tuple[dict[str, str], ...]:
    branch: list[dict[str, str]] = []
    while leaf_id is not None:
        message = messages[leaf_id]
        branch.append({"role": message.role, "content": message.content})
        leaf_id = message.parent_id
    return tuple(reversed(branch))


def _answer(completion: Completion, prompt: tuple[dict[str, str], ...]) -> StoredAnswer:
    if completion.version_id is None:
        raise ValueError(f"Completion {completion.id} names no version.")
    return StoredAnswer(
        completion_id=completion.id,
        version_id=completion.version_id,
        token_ids=tuple(completion.token_ids),
        text=completion.text,
        finish_reason=completion.finish_reason,
        max_new_tokens=int(completion.decoding["max_new_tokens"]),
        first_token_seconds=completion.first_token_seconds,
        seconds=completion.seconds or 0.0,
        stored_at=completion.created_at,
        prompt=prompt,
    )


def log_troubles(data: Path) -> Sequence[str]:
    """Lines of the service's log that tell of an error."""
    lines = (data / "serve.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if " ERROR " in line or line.startswith("Traceback")]
