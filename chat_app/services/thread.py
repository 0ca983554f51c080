"""The shown branch of a conversation, as values that a page can draw."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from chat_app.services.choice import AS_SERVED, AnswerChoice
from feedback.preference import Message, Role

Verdict = Literal["left", "right", "tie", "both_bad", "ranked"]


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A line of the list of conversations; the title is empty until the first message."""

    id: int
    title: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ShownCompletion:
    """One answer at its place; `version_name` is None until the vote (blind)."""

    position: int
    text: str
    version_name: str | None


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """A comparison as its voter may see it; `verdict` is None until the vote."""

    id: int
    source: str
    prompt: tuple[Message, ...]
    completions: tuple[ShownCompletion, ...]
    conversation_id: int | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of the shown branch.

    `sibling_index` counts from 0 among the `sibling_count` messages with the same parent (‹ 2/3 ›).
    `is_stopped` marks an answer cut short by the person; `comparison_id` and `verdict` an answer that was
    chosen from a comparison, `example_exchanges` how many examples the model read before the conversation.
    """

    message_id: int
    role: Role
    content: str
    version_name: str | None
    sibling_index: int
    sibling_count: int
    completion_id: int | None
    is_stopped: bool = False
    comparison_id: int | None = None
    verdict: Verdict | None = None
    example_exchanges: int = 0


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation's shown branch, oldest turn first.

    `choice`: how the newest answer was wanted, which the next one follows.
    `open_comparison`: two answers to the last user turn that wait for a vote (a page restores them).
    `is_answering`: a model is writing in it now, perhaps for another tab.
    `is_unanswered`: the last turn is the user's, nothing is running and nothing waits for a vote (offer
    "Try again", that is `regenerate`).
    """

    conversation_id: int
    title: str
    turns: tuple[Turn, ...]
    open_comparison: ComparisonView | None
    is_answering: bool
    is_unanswered: bool
    choice: AnswerChoice = AS_SERVED
