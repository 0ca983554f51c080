"""Blind comparisons: answers from one batch in random order, a vote, and what the vote reveals."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from chat_app.services.person import Person
from chat_app.services.thread import ComparisonView, Thread, Verdict
from feedback.collect import Answer
from feedback.preference import Message

Choice = Literal["left", "right", "tie", "both_bad"]


@dataclass(frozen=True, slots=True)
class PairEvent:
    """A step of two answers: "queued" first (the user's message is stored), then "text", then "done" or "stopped".

    `left` and `right` are whole texts so far; `is_left_done` and `is_right_done` say which are complete.
    Only "done" has a `comparison_id`: the comparison is committed and open for a vote.
    """

    kind: Literal["queued", "text", "done", "stopped"]
    left: str = ""
    right: str = ""
    is_left_done: bool = False
    is_right_done: bool = False
    position: int | None = None
    message_id: int | None = None
    comparison_id: int | None = None


@dataclass(frozen=True, slots=True)
class VoteReceipt:
    """What a stored vote came to; it is committed before this is returned.

    `version_names` by position; `chosen_position` is where the conversation goes on (the left one, 0, after a tie
    or both bad) and `thread` that conversation, None outside of one. `is_branch_kept`: a changed vote after which
    the conversation already went on, so the shown branch stayed.
    """

    preference_id: int
    verdict: Verdict
    version_names: tuple[str, ...]
    chosen_position: int
    thread: Thread | None
    is_branch_kept: bool = False


def answer_for(
    choice: Choice, *, idempotency_key: str, seconds: float | None = None, comment: str = ""
) -> Answer:
    """Turn a button into ranks: left (1, 2), right (2, 1), tie and both bad (1, 1)."""
    raise NotImplementedError


class CompareService:
    """Plain methods block on the database: call them from a thread. Async ones run in the event loop."""

    def open_in_chat(
        self, person: Person, conversation_id: int, text: str | None
    ) -> AsyncIterator[PairEvent]:
        """Store the user's message (None: take the last user turn again), then stream two blind answers.

        Closing the iterator cancels both and leaves no comparison.
        Raises as ChatService.send, and PairFailed (the message is kept: call again with None).
        """
        raise NotImplementedError

    async def open(
        self, person: Person, prompt: list[dict[str, str]] | None = None, k: int = 2
    ) -> ComparisonView:
        """Ask for k answers (2 to 9) to a prompt, or to one of the prompt library, and wait for them.

        Raises InvalidInput, MessageTooLong, PromptDoesNotFit, Busy, PairFailed.
        """
        raise NotImplementedError

    def get(self, person: Person, comparison_id: int) -> ComparisonView:
        """Return a comparison of the person's own. Raises NotFound."""
        raise NotImplementedError

    def vote(self, person: Person, comparison_id: int, answer: Answer) -> VoteReceipt:
        """Store a vote durably, once per idempotency key, and let the conversation go on with the chosen answer.

        Raises feedback's ComparisonNotFound, NotYourComparison, ComparisonSuperseded, InvalidRanking.
        """
        raise NotImplementedError
