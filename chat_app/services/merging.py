"""Follows several answers at once, as one stream of steps."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration
from chat_app.inference.transcript import ScoredToken
from chat_app.services.answering import engine_errors


@dataclass(frozen=True, slots=True)
class Progress:
    """Answer `index` got longer, or its place in the queue changed; `tokens` where they were asked for."""

    index: int
    text: str
    queue_position: int | None
    tokens: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Answer `index` is complete."""

    index: int
    answer: FinishedGeneration


Step = Progress | Finished


async def merge(generations: Sequence[Generation]) -> AsyncGenerator[Step, None]:
    """Yield the steps of all answers as they come, until all are complete; raise the first failure.

    A slow reader misses steps in between; nothing piles up.
    """
    steps: asyncio.Queue[Step | Exception] = asyncio.Queue(maxsize=1)
    tasks = [asyncio.create_task(_follow(i, one, steps)) for i, one in enumerate(generations)]
    unfinished = len(generations)
    try:
        while unfinished:
            step = await steps.get()
            if isinstance(step, Exception):
                raise step
            unfinished -= isinstance(step, Finished)
            yield step
    finally:
        for task in tasks:
            task.cancel()


async def _follow(index: int, generation: Generation, steps: asyncio.Queue[Step | Exception]) -> None:
    try:
        with engine_errors():
            async for event in generation.events():
                await steps.put(Progress(index, event.text, event.queue_position, event.tokens))
            await steps.put(Finished(index, await generation.result()))
    except Exception as error:  # carried to whoever follows; nothing is swallowed
        await steps.put(error)
