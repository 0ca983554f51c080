"""Conversations: what is said, answered, regenerated, edited and undone, kept as a tree of messages."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from chat_app.services.person import Person
from chat_app.services.thread import ConversationSummary, Thread


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """A step of an answer.

    "queued" comes first, once the user's message is stored: `message_id` is that message, `position` the place in
    the queue (0: being answered next), and again whenever the place changes.
    "text": `text` is the whole answer so far. "done" / "stopped": stored; `message_id` is the answer's message
    (None when it was stopped before its first word).
    """

    kind: Literal["queued", "text", "done", "stopped"]
    text: str = ""
    position: int | None = None
    message_id: int | None = None
    version_name: str | None = None
    dropped_messages: int = 0


class ChatService:
    """Plain methods block on the database: call them from a thread. Async ones run in the event loop.

    All raise NotFound for a conversation or message that is not there or not the person's.
    """

    def conversations(self, person: Person) -> list[ConversationSummary]:
        """List the person's conversations, the newest first."""
        raise NotImplementedError

    def create(self, person: Person) -> int:
        """Begin an empty conversation and return its id; an empty one of the person is used again."""
        raise NotImplementedError

    def rename(self, person: Person, conversation_id: int, title: str) -> None:
        """Give a conversation another title. Raises InvalidInput for an empty one or over 120 characters."""
        raise NotImplementedError

    def delete(self, person: Person, conversation_id: int) -> None:
        """Take a conversation off the list; feedback given in it stays."""
        raise NotImplementedError

    def thread(self, person: Person, conversation_id: int) -> Thread:
        """Return the shown branch."""
        raise NotImplementedError

    def send(self, person: Person, conversation_id: int, text: str) -> AsyncIterator[ChatEvent]:
        """Store the user's message, then stream the answer and store it.

        Closing the iterator (the tab) cancels generation and stores what there is.
        Raises EmptyMessage, MessageTooLong, PromptDoesNotFit, StillAnswering, VoteWaits, Busy, Unavailable.
        """
        raise NotImplementedError

    def regenerate(self, person: Person, conversation_id: int) -> AsyncIterator[ChatEvent]:
        """Answer the last user turn once more, beside the old answer. Raises Conflict when there is none."""
        raise NotImplementedError

    def edit(self, person: Person, message_id: int, text: str) -> AsyncIterator[ChatEvent]:
        """Store a new wording of a user turn beside the old one and answer it. Raises Conflict for an answer."""
        raise NotImplementedError

    def stop(self, person: Person, conversation_id: int) -> bool:
        """Stop what is being written in a conversation; tell whether anything was. What there is is stored."""
        raise NotImplementedError

    def undo(self, person: Person, conversation_id: int) -> Thread:
        """Show the branch before the last exchange. Raises Conflict when there is none, StillAnswering."""
        raise NotImplementedError

    def show_sibling(self, person: Person, message_id: int, step: int) -> Thread:
        """Show the branch through the sibling `step` places on (-1 or 1), down to its newest end."""
        raise NotImplementedError
