"""Two blind answers to one question while they are written."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chat_app.errors import PairFailed, ServiceError
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration
from chat_app.services.answering import Answering
from chat_app.services.asking import Question
from chat_app.services.merging import Finished, Progress, merge
from chat_app.services.person import Person
from chat_app.services.running import Claim

RESAMPLES = 3  # two equal answers leave nothing to choose between


@dataclass(frozen=True, slots=True)
class PairEvent:
    """A step of two answers: "queued" first (the user's message is stored), "text", then "done" or "stopped".

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


class Pair:
    """Left is position 0. Which sample comes left is chance: both have seeds of their own from one source."""

    def __init__(self, answering: Answering, claim: Claim, person: Person) -> None:
        self._answering = answering
        self._claim = claim
        self._person = person
        self._question: Question | None = None
        self._generations: list[Generation] = []
        self._texts = ["", ""]
        self._finished: list[FinishedGeneration | None] = [None, None]

    @property
    def is_stopped(self) -> bool:
        """Somebody, or the end of the service, cut an answer short, so there is nothing to vote on."""
        return self._claim.is_stopped or any(answer.finish_reason == "stopped" for answer in self.finished)

    @property
    def finished(self) -> list[FinishedGeneration]:
        """The complete answers, left first."""
        return [answer for answer in self._finished if answer is not None]

    def start(self, question: Question) -> None:
        """Queue both in one batch. Raises what Answering.submit raises."""
        self._question = question
        self._generations = self._answering.submit(self._person, question.prompt, 2, question.choice)
        self._claim.attach(self._generations)

    def cancel(self) -> None:
        """End both."""
        for generation in self._generations:
            generation.cancel()

    def shown(self) -> PairEvent:
        """What a page shows now."""
        left, right = self._texts
        done = [answer is not None for answer in self._finished]
        return PairEvent("text", left, right, is_left_done=done[0], is_right_done=done[1])

    async def events(self) -> AsyncGenerator[PairEvent, None]:
        """Follow both to their ends, and sample the right one anew while it equals the left.

        Raises PairFailed.
        """
        try:
            async for event in self._follow([0, 1]):
                yield event
            for _ in range(RESAMPLES):
                if self.is_stopped or len({answer.text for answer in self.finished}) == 2:
                    break
                async for event in self._sample_right_anew():
                    yield event
        except ServiceError as error:
            raise PairFailed(error.message.rstrip(".")) from error
        if self.is_stopped:
            yield replace(self.shown(), kind="stopped")

    async def _sample_right_anew(self) -> AsyncGenerator[PairEvent, None]:
        assert self._question is not None
        question = self._question
        self._generations = self._answering.submit(self._person, question.prompt, 1, question.choice)
        self._claim.attach(self._generations)
        self._finished[1] = None
        async for event in self._follow([1]):
            yield event

    async def _follow(self, positions: Sequence[int]) -> AsyncGenerator[PairEvent, None]:
        """Follow the current generations, which stand at the given positions."""
        async for step in merge(self._generations):
            position = positions[step.index]
            if isinstance(step, Progress) and step.queue_position is not None:
                yield replace(self.shown(), kind="queued", position=step.queue_position)
                continue
            if isinstance(step, Finished):
                self._finished[position] = step.answer
            self._texts[position] = step.answer.text if isinstance(step, Finished) else step.text
            yield self.shown()
