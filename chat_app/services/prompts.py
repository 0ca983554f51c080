"""Prompts that are compared outside of a conversation: given by a program, or from the library."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chat_app.errors import InvalidInput, NotFound
from chat_app.services.asking import checked_text
from db.tables import Comparison, Prompt
from feedback.preference import Message, messages_from

MOST_MESSAGES = 2000


@dataclass(frozen=True, slots=True)
class ApiPrompt:
    """Messages that end with a user turn, and the library's id of them."""

    messages: tuple[Message, ...]
    prompt_id: int | None = None


def checked_prompt(messages: Sequence[Mapping[str, Any]], max_characters: int) -> ApiPrompt:
    """Check a given prompt. Raises InvalidInput and its kinds, and feedback's InvalidPrompt."""
    if not 1 <= len(messages) <= MOST_MESSAGES:
        raise InvalidInput(
            f"The prompt has {len(messages)} messages.", f"Give 1 to {MOST_MESSAGES}, the last of role user."
        )
    prompt = messages_from(messages)
    for message in prompt:
        checked_text(message.content, max_characters)
    if prompt[-1].role != "user":
        raise InvalidInput(
            f"The prompt ends with a message of role {prompt[-1].role}.", "End it with one of role user."
        )
    return ApiPrompt(prompt)


def library_prompt(*, session: Session) -> ApiPrompt:
    """Take a random one of the training prompts that were compared least often. Raises NotFound."""
    times = func.count(Comparison.id)
    query = (
        select(Prompt.id, times)
        .outerjoin(Comparison, Comparison.prompt_id == Prompt.id)
        .where(Prompt.part == "training")
        .group_by(Prompt.id)
    )
    counts = [(prompt_id, count) for prompt_id, count in session.execute(query)]
    if not counts:
        raise NotFound("training prompt", "in the prompt library")
    fewest = min(count for _, count in counts)
    chosen = secrets.choice([prompt_id for prompt_id, count in counts if count == fewest])
    return ApiPrompt(messages_from(session.get_one(Prompt, chosen).messages), prompt_id=chosen)
