"""Conversations: what is said, answered, regenerated, edited and undone, kept as a tree of messages."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeVar

from anyio.to_thread import run_sync
from sqlalchemy import select
from sqlalchemy.orm import Session

from chat_app.errors import Conflict, InvalidInput, NotFound
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration
from chat_app.services.answering import Answering, engine_errors, store_completion
from chat_app.services.asking import Question, ask, ask_again, ask_otherwise, checked_text
from chat_app.services.choice import AS_SERVED, AnswerChoice
from chat_app.services.person import Person, require
from chat_app.services.running import Claim, RunningAnswers
from chat_app.services.showing import show_thread
from chat_app.services.thread import ConversationSummary, Thread
from chat_app.services.tree import load_tree, own_conversation, own_message
from db.engine import Database
from db.tables import Conversation, Message, ModelVersion, utc_now

Result = TypeVar("Result")

TITLE_LIMIT = 120


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """A step of an answer.

    "queued" comes first, once the user's message is stored, and again whenever the place in the queue
    changes: `message_id` is that message, `position` the place (1 is next, 0 is not known yet).
    "text": `text` is the whole answer so far. "done" and "stopped": stored; `message_id` is the answer's
    message, None when it was stopped before its first word.
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

    def __init__(
        self, *, database: Database, answering: Answering, running: RunningAnswers, max_characters: int
    ) -> None:
        self._database = database
        self._answering = answering
        self._running = running
        self._max_characters = max_characters
        self._storing: set[asyncio.Task[ChatEvent]] = set()

    def conversations(self, person: Person) -> list[ConversationSummary]:
        """List the person's conversations in which something was said, the newest first."""
        require(person, "chat")
        query = select(Conversation).where(
            Conversation.user_id == person.id,
            Conversation.deleted_at.is_(None),
            select(Message.id).where(Message.conversation_id == Conversation.id).exists(),
        )
        with self._database.read() as session:
            rows = session.scalars(query.order_by(Conversation.updated_at.desc(), Conversation.id.desc()))
            return [ConversationSummary(row.id, row.title, row.updated_at) for row in rows]

    def create(self, person: Person) -> int:
        """Begin an empty conversation and return its id; it is not listed before something is said in it.

        Always a new one: two pages that begin at the same time must not share it.
        """
        require(person, "chat")
        with self._database.write() as session:
            conversation = Conversation(user_id=person.id, updated_at=utc_now())
            session.add(conversation)
            session.flush()
            return conversation.id

    def rename(self, person: Person, conversation_id: int, title: str) -> None:
        """Give a conversation another title. Raises InvalidInput for an empty one or over 120 characters."""
        require(person, "chat")
        title = checked_text(title, TITLE_LIMIT)
        if not title.isprintable():
            raise InvalidInput("A title is one line of printable characters.", "Remove the others.")
        with self._database.write() as session:
            own_conversation(session=session, person=person, conversation_id=conversation_id).title = title

    def delete(self, person: Person, conversation_id: int) -> None:
        """Take a conversation off the list; feedback given in it stays."""
        require(person, "chat")
        with self._database.write() as session:
            conversation = own_conversation(session=session, person=person, conversation_id=conversation_id)
            conversation.deleted_at = utc_now()
        self._running.stop(conversation_id)

    def thread(self, person: Person, conversation_id: int) -> Thread:
        """Return the shown branch."""
        require(person, "chat")
        with self._database.read() as session:
            conversation = own_conversation(session=session, person=person, conversation_id=conversation_id)
            return self._show(session, conversation)

    def stop(self, person: Person, conversation_id: int) -> bool:
        """Stop what is being written in a conversation; tell whether anything was. What there is is kept."""
        require(person, "chat")
        with self._database.read() as session:
            own_conversation(session=session, person=person, conversation_id=conversation_id)
        return self._running.stop(conversation_id)

    def undo(self, person: Person, conversation_id: int) -> Thread:
        """Show the branch before the last exchange. Raises Conflict when there is none, StillAnswering."""
        require(person, "chat")
        self._running.refuse_if_answering(conversation_id)
        with self._database.write() as session:
            conversation = own_conversation(session=session, person=person, conversation_id=conversation_id)
            tree = load_tree(session=session, conversation_id=conversation_id)
            turn = tree.last_user_turn(conversation.leaf_id)
            if turn is None:
                raise Conflict("There is nothing to undo in this conversation.", "Send a message first.")
            conversation.leaf_id = turn.parent_id
            session.flush()
            return self._show(session, conversation)

    def show_sibling(self, person: Person, message_id: int, step: int) -> Thread:
        """Show the branch through the sibling `step` places on (-1 or 1), down to its newest end."""
        require(person, "chat")
        with self._database.write() as session:
            conversation, message = own_message(session=session, person=person, message_id=message_id)
            self._running.refuse_if_answering(conversation.id)
            tree = load_tree(session=session, conversation_id=conversation.id)
            siblings = tree.siblings(tree[message.id])
            index = siblings.index(tree[message.id]) + step
            if not 0 <= index < len(siblings):
                raise NotFound("other wording of message", message_id)
            conversation.leaf_id = tree.newest_end(siblings[index]).id
            session.flush()
            return self._show(session, conversation)

    def send(
        self, person: Person, conversation_id: int, text: str, choice: AnswerChoice = AS_SERVED
    ) -> AsyncGenerator[ChatEvent, None]:
        """Store the user's message, then stream the answer and store it.

        Closing the iterator (the tab) cancels generation and stores what there is.
        Raises EmptyMessage, MessageTooLong, PromptDoesNotFit, StillAnswering, VoteWaits, Busy, Unavailable, and
        VersionNotFound or NotServable for a choice that cannot be met.
        """
        require(person, "chat")
        content = checked_text(text, self._max_characters)

        def store(session: Session) -> Question:
            return ask(
                session=session,
                person=person,
                conversation_id=conversation_id,
                content=content,
                choice=choice,
            )

        return self._answer(person, conversation_id, store)

    def regenerate(
        self, person: Person, conversation_id: int, choice: AnswerChoice = AS_SERVED
    ) -> AsyncGenerator[ChatEvent, None]:
        """Answer the last user turn once more, beside the old answer. Raises Conflict when there is none."""
        require(person, "chat")

        def find(session: Session) -> Question:
            return ask_again(session=session, person=person, conversation_id=conversation_id, choice=choice)

        return self._answer(person, conversation_id, find)

    async def edit(
        self, person: Person, message_id: int, text: str, choice: AnswerChoice = AS_SERVED
    ) -> AsyncGenerator[ChatEvent, None]:
        """Store a new wording of a user turn beside the old and answer it. Raises Conflict for an answer."""
        require(person, "chat")
        content = checked_text(text, self._max_characters)
        conversation_id = await run_sync(self._conversation_of, person, message_id)

        def store(session: Session) -> Question:
            return ask_otherwise(
                session=session, person=person, message_id=message_id, content=content, choice=choice
            )

        async with aclosing(self._answer(person, conversation_id, store)) as events:
            async for event in events:
                yield event

    async def finish(self) -> None:
        """End all answers and wait until what there is of them is stored, before the app goes down."""
        self._running.stop_all()
        await asyncio.gather(*self._storing, return_exceptions=True)

    async def _answer(
        self, person: Person, conversation_id: int, prepare: Callable[[Session], Question]
    ) -> AsyncGenerator[ChatEvent, None]:
        claim = self._running.claim(conversation_id)
        try:
            self._answering.check_room(person)
            question = await run_sync(self._in_write, prepare)
            generation = self._answering.submit(person, question.prompt, choice=question.choice)[0]
            claim.attach([generation])
            storing = self._store_when_finished(claim, question, generation)
        except BaseException:
            claim.release()
            raise
        try:
            yield ChatEvent("queued", position=0, message_id=question.message_id)
            async for step in generation.events():
                if step.queue_position is not None:
                    yield ChatEvent("queued", position=step.queue_position, message_id=question.message_id)
                else:
                    yield ChatEvent("text", text=step.text)
            yield await asyncio.shield(storing)
        finally:
            generation.cancel()

    def _store_when_finished(
        self, claim: Claim, question: Question, generation: Generation
    ) -> asyncio.Task[ChatEvent]:
        """Store the answer in a task of its own: it goes on when the tab that asked is closed."""

        async def store() -> ChatEvent:
            try:
                with engine_errors():
                    finished = await generation.result()
                return await run_sync(self._in_write, lambda s: _store_answer(s, question, finished))
            finally:
                claim.release()

        task = asyncio.create_task(store())
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # mark it as seen
        return task

    def _in_write(self, work: Callable[[Session], Result]) -> Result:
        with self._database.write() as session:
            return work(session)

    def _conversation_of(self, person: Person, message_id: int) -> int:
        with self._database.read() as session:
            return own_message(session=session, person=person, message_id=message_id)[0].id

    def _show(self, session: Session, conversation: Conversation) -> Thread:
        is_answering = self._running.is_answering(conversation.id)
        return show_thread(session=session, conversation=conversation, is_answering=is_answering)


def _store_answer(session: Session, question: Question, finished: FinishedGeneration) -> ChatEvent:
    """Store an answer and show it; one that was stopped before its first word leaves nothing."""
    is_stopped = finished.finish_reason == "stopped"
    if is_stopped and not finished.text:
        return ChatEvent("stopped", dropped_messages=finished.dropped_messages)
    completion = store_completion(session=session, finished=finished, choice=question.choice)
    message = Message(
        conversation_id=question.conversation_id,
        parent_id=question.message_id,
        role="assistant",
        content=finished.text,
        completion_id=completion.id,
    )
    session.add(message)
    session.flush()
    session.refresh(message)  # as the database has it: it takes no NUL characters
    conversation = session.get_one(Conversation, question.conversation_id)
    conversation.leaf_id, conversation.updated_at = message.id, utc_now()
    return ChatEvent(
        "stopped" if is_stopped else "done",
        text=message.content,
        message_id=message.id,
        version_name=session.get_one(ModelVersion, finished.version_id).name,
        dropped_messages=finished.dropped_messages,
    )
