"""Answers for programs: each request brings its whole conversation, and each answer is kept for a vote on it."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import select

from chat_app.errors import ModelNotFound
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration, GenerationRequest
from chat_app.services.answering import Answering, engine_errors, store_completion
from chat_app.services.choice import AnswerChoice
from chat_app.services.merging import Step, merge
from chat_app.services.person import Person, require
from chat_app.services.prompts import ApiPrompt, checked_prompt
from db.engine import Database
from db.tables import CompletionRequest, ModelVersion, RequestedCompletion
from feedback.preference import prompt_hash
from training.version_rows import can_chat

SERVED = "rapport"  # the name of whichever version serves
SEEDS = 2**63  # seeds are below this


@dataclass(frozen=True, slots=True)
class CompletionWish:
    """What a program wants: `count` answers to messages that end with a user turn.

    `decoding` are changes to the service's own decoding parameters. The i-th answer's seed is `seed` + i, so that the
    same wish to the same version gives the same answers.
    """

    messages: Sequence[Mapping[str, Any]]
    model: str = SERVED
    count: int = 1
    seed: int | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)
    stop_strings: tuple[str, ...] = ()
    keep_tokens: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CompletionRun:
    """Answers in the making; `public_id` and an answer's place name it for a vote once it is finished."""

    public_id: str
    version_name: str
    generations: Sequence[Generation]
    storing: asyncio.Task[list[FinishedGeneration]]

    def steps(self) -> AsyncGenerator[Step, None]:
        """Follow all answers; a reader that goes away cancels them. Raises Unavailable."""
        return merge(self.generations)

    async def finished(self) -> list[FinishedGeneration]:
        """Wait until all answers are finished and stored. Raises Unavailable."""
        return await asyncio.shield(self.storing)

    def cancel(self) -> None:
        """End all; what there is of them is stored."""
        for generation in self.generations:
            generation.cancel()


class CompletionService:
    """Its methods run in the event loop."""

    def __init__(self, *, database: Database, answering: Answering, max_characters: int) -> None:
        self._database = database
        self._answering = answering
        self._max_characters = max_characters
        self._runs: set[CompletionRun] = set()

    async def begin(self, person: Person, wish: CompletionWish) -> CompletionRun:
        """Queue the answers and store them when they are finished.

        Raises ModelNotFound, InvalidInput, MessageTooLong, PromptDoesNotFit, Busy, Unavailable, and feedback's
        InvalidPrompt.
        """
        require(person, "chat")
        asked = checked_prompt(wish.messages, self._max_characters)
        choice = await run_sync(self._choice, wish.model)
        requests = self._requests(person, asked, wish, choice)
        generations = await run_sync(self._answering.submit_requests, requests)
        public_id = f"chatcmpl-{secrets.token_hex(12)}"
        run = CompletionRun(
            public_id=public_id,
            version_name=await self._version_name(generations),
            generations=generations,
            storing=asyncio.create_task(self._store_when_finished(person, public_id, asked, generations)),
        )
        self._remember(run)
        return run

    async def finish(self) -> None:
        """End all answers and wait until what there is of them is stored, before the app goes down."""
        runs = list(self._runs)
        for run in runs:
            run.cancel()
        await asyncio.gather(*(run.storing for run in runs), return_exceptions=True)

    def _remember(self, run: CompletionRun) -> None:
        def forget(done: asyncio.Task[list[FinishedGeneration]]) -> None:
            self._runs.discard(run)
            if not done.cancelled():
                done.exception()  # marks it as seen: the client may be gone

        self._runs.add(run)
        run.storing.add_done_callback(forget)

    def _choice(self, model: str) -> AnswerChoice:
        if model == SERVED:
            return AnswerChoice()
        with self._database.read() as session:
            version = session.scalars(select(ModelVersion).where(ModelVersion.name == model)).first()
            if version is None or not can_chat(version):
                raise ModelNotFound(model)
            return AnswerChoice(version_id=version.id)

    async def _version_name(self, generations: Sequence[Generation]) -> str:
        version_id = generations[0].version_id
        assert version_id is not None, "a version is named, or serves and is loaded"
        try:
            return await run_sync(self._name, version_id)
        except BaseException:
            for generation in generations:
                generation.cancel()
            raise

    def _name(self, version_id: int) -> str:
        with self._database.read() as session:
            return session.get_one(ModelVersion, version_id).name

    def _requests(
        self, person: Person, asked: ApiPrompt, wish: CompletionWish, choice: AnswerChoice
    ) -> list[GenerationRequest]:
        first_seed = secrets.randbits(31) if wish.seed is None else wish.seed
        return [
            GenerationRequest(
                prompt=[message.as_dict() for message in asked.messages],
                parameters=replace(self._answering.parameters, **wish.decoding),
                seed=(first_seed + index) % SEEDS,
                version_id=choice.version_id,
                stop_strings=wish.stop_strings,
                keep_tokens=wish.keep_tokens,
                asker=person.asker,
            )
            for index in range(wish.count)
        ]

    async def _store_when_finished(
        self, person: Person, public_id: str, asked: ApiPrompt, generations: Sequence[Generation]
    ) -> list[FinishedGeneration]:
        """Store in a task of its own: it goes on when the client that asked is gone."""
        try:
            with engine_errors():
                finished = await asyncio.gather(*(generation.result() for generation in generations))
        finally:
            for generation in generations:
                generation.cancel()
        await run_sync(self._store, person, public_id, asked, finished)
        return finished

    def _store(
        self, person: Person, public_id: str, asked: ApiPrompt, finished: Sequence[FinishedGeneration]
    ) -> None:
        """Store the answers at their places; one that was stopped before its first word leaves nothing."""
        kept = [(i, one) for i, one in enumerate(finished) if one.text or one.finish_reason != "stopped"]
        if not kept:
            return
        with self._database.write() as session:
            request = CompletionRequest(
                user_id=person.id,
                public_id=public_id,
                prompt=[message.as_dict() for message in asked.messages],
                prompt_hash=prompt_hash(asked.messages),
            )
            request.answers = [
                RequestedCompletion(
                    position=position, completion=store_completion(session=session, finished=one)
                )
                for position, one in kept
            ]
            session.add(request)
