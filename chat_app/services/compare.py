"""Blind comparisons: answers from one batch in random order, a vote, and what the vote reveals."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from chat_app.errors import InvalidInput, NotFound, PairFailed, ServiceError
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration
from chat_app.services.answering import Answering, store_completion
from chat_app.services.asking import Question, ask, ask_again, checked_text
from chat_app.services.choice import AS_SERVED, AnswerChoice
from chat_app.services.merging import Finished, merge
from chat_app.services.pair import RESAMPLES, Pair, PairEvent
from chat_app.services.person import Person, require
from chat_app.services.prompts import ApiPrompt, checked_prompt, library_prompt
from chat_app.services.running import RunningAnswers
from chat_app.services.showing import show_comparison
from chat_app.services.thread import ComparisonView
from chat_app.services.voting import VoteReceipt, receipt_of
from db.engine import Database
from db.tables import Comparison, Conversation, utc_now
from feedback.collect import Answer, answer_comparison, open_comparison

Choice = Literal["left", "right", "tie", "both_bad"]

RANKS: dict[Choice, tuple[int, int]] = {"left": (1, 2), "right": (2, 1), "tie": (1, 1), "both_bad": (1, 1)}
MOST_ANSWERS = 9


def answer_for(
    choice: Choice, *, idempotency_key: str, seconds: float | None = None, comment: str = ""
) -> Answer:
    """Turn a button into ranks: left (1, 2), right (2, 1), tie and both bad (1, 1)."""
    return Answer(
        ranks=RANKS[choice],
        is_both_bad=choice == "both_bad",
        comment=comment,
        seconds=seconds,
        idempotency_key=idempotency_key,
    )


class CompareService:
    """Plain methods block on the database: call them from a thread. Async ones run in the event loop."""

    def __init__(
        self, *, database: Database, answering: Answering, running: RunningAnswers, max_characters: int
    ) -> None:
        self._database = database
        self._answering = answering
        self._running = running
        self._max_characters = max_characters

    async def open_in_chat(
        self,
        person: Person,
        conversation_id: int,
        text: str | None,
        choice: AnswerChoice = AS_SERVED,
    ) -> AsyncGenerator[PairEvent, None]:
        """Store the user's message (None: take the last user turn again), then stream two blind answers.

        Both come from one version and after the same examples.
        Closing the iterator cancels both and leaves no comparison.
        Raises as ChatService.send, and PairFailed (the message is kept: call again with None).
        """
        require(person, "compare")
        content = None if text is None else checked_text(text, self._max_characters)
        claim = self._running.claim(conversation_id)
        pair = Pair(self._answering, claim, person)
        try:
            self._answering.check_room(person, 2)
            question = await run_sync(self._ask, person, conversation_id, content, choice)
            pair.start(question)
            yield PairEvent("queued", position=0, message_id=question.message_id)
            async with aclosing(pair.events()) as events:
                async for event in events:
                    yield event
            if not pair.is_stopped:
                comparison_id = await run_sync(self._store_in_chat, person, question, pair.finished)
                yield replace(pair.shown(), kind="done", comparison_id=comparison_id)
        finally:
            pair.cancel()
            claim.release()

    async def open(
        self, person: Person, prompt: Sequence[dict[str, Any]] | None = None, k: int = 2
    ) -> ComparisonView:
        """Ask for k answers (2 to 9) to a prompt, or to one of the prompt library, and wait for them.

        Raises InvalidInput, MessageTooLong, PromptDoesNotFit, Busy, PairFailed.
        """
        require(person, "compare")
        if not 2 <= k <= MOST_ANSWERS:
            raise InvalidInput(f"k is {k}.", f"Ask for 2 to {MOST_ANSWERS} answers.", k=k)
        asked = await run_sync(self._prompt, prompt)
        finished = await self._distinct_answers(person, asked, k)
        return await run_sync(self._store, person, asked, finished)

    def get(self, person: Person, comparison_id: int) -> ComparisonView:
        """Return a comparison of the person's own. Raises NotFound."""
        require(person, "compare")
        with self._database.read() as session:
            comparison = session.get(Comparison, comparison_id)
            if comparison is None or comparison.user_id != person.id:
                raise NotFound("comparison", comparison_id)
            return show_comparison(session=session, comparison=comparison)

    def vote(self, person: Person, comparison_id: int, answer: Answer) -> VoteReceipt:
        """Store a vote durably, once per idempotency key, and go on with the chosen answer in the chat.

        Raises feedback's ComparisonNotFound, NotYourComparison, ComparisonSuperseded, InvalidRanking.
        """
        require(person, "compare")
        with self._database.write() as session:
            preference = answer_comparison(
                session=session, user_id=person.id, comparison_id=comparison_id, answer=answer
            )
            session.flush()
            return receipt_of(session=session, preference=preference, running=self._running)

    def _ask(
        self, person: Person, conversation_id: int, content: str | None, choice: AnswerChoice
    ) -> Question:
        with self._database.write() as session:
            if content is None:
                return ask_again(
                    session=session, person=person, conversation_id=conversation_id, choice=choice
                )
            return ask(
                session=session,
                person=person,
                conversation_id=conversation_id,
                content=content,
                choice=choice,
            )

    def _store_in_chat(
        self, person: Person, question: Question, finished: Sequence[FinishedGeneration]
    ) -> int:
        with self._database.write() as session:
            conversation = session.get_one(Conversation, question.conversation_id)
            conversation.leaf_id, conversation.updated_at = question.message_id, utc_now()
            comparison = open_comparison(
                session=session,
                user_id=person.id,
                source="chat",
                prompt=question.prompt,
                completion_ids=_store_all(session, finished, question.choice),
                conversation_id=question.conversation_id,
                parent_message_id=question.message_id,
            )
            session.flush()
            return comparison.id

    def _store(
        self, person: Person, asked: ApiPrompt, finished: Sequence[FinishedGeneration]
    ) -> ComparisonView:
        with self._database.write() as session:
            comparison = open_comparison(
                session=session,
                user_id=person.id,
                source="api",
                prompt=asked.messages,
                completion_ids=_store_all(session, finished),
                prompt_id=asked.prompt_id,
            )
            session.flush()
            session.refresh(comparison, ["shown"])
            return show_comparison(session=session, comparison=comparison)

    def _prompt(self, prompt: Sequence[dict[str, Any]] | None) -> ApiPrompt:
        if prompt is not None:
            return checked_prompt(prompt, self._max_characters)
        with self._database.read() as session:
            return library_prompt(session=session)

    async def _distinct_answers(self, person: Person, asked: ApiPrompt, k: int) -> list[FinishedGeneration]:
        finished: list[FinishedGeneration] = []
        for _ in range(1 + RESAMPLES):
            missing = k - len(finished)
            fresh = await self._wait_for(self._answering.submit(person, asked.messages, missing))
            finished += [answer for answer in fresh if answer.text not in {one.text for one in finished}]
            finished = list({answer.text: answer for answer in finished}.values())
            if len(finished) == k:
                return finished
        return finished + fresh[: k - len(finished)]

    async def _wait_for(self, generations: Sequence[Generation]) -> list[FinishedGeneration]:
        finished: dict[int, FinishedGeneration] = {}
        try:
            async for step in merge(generations):
                if isinstance(step, Finished):
                    finished[step.index] = step.answer
        except ServiceError as error:
            raise PairFailed(error.message.rstrip(".")) from error
        finally:
            for generation in generations:
                generation.cancel()
        if any(answer.finish_reason == "stopped" for answer in finished.values()):
            raise PairFailed("it was stopped")
        return [finished[index] for index in range(len(generations))]


def _store_all(
    session: Session, finished: Sequence[FinishedGeneration], choice: AnswerChoice = AS_SERVED
) -> list[int]:
    return [store_completion(session=session, finished=answer, choice=choice).id for answer in finished]
