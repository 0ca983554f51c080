"""Our side of the comparison of concurrent streams: the inference engine itself, with readers on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.chat_prompts import ChatPrompt
from benchmarks.endless import served_endlessly
from benchmarks.streams_run import StreamsRun
from chat_app.inference.engine import InferenceEngine
from chat_app.inference.generation import Generation
from chat_app.inference.request import GenerationRequest
from chat_app.inference.settings import InferenceSettings
from training.generation import DecodingParameters
from training.loading import LoadedModel


@contextmanager
def running_engine(loaded: LoadedModel, max_batch: int) -> Iterator[InferenceEngine]:
    """An engine with the defaults of the service, but for its batch, whose answers end at their limit only."""
    endless = served_endlessly(loaded)
    engine = InferenceEngine(
        load_version=lambda _: endless, settings=InferenceSettings(max_batch=max_batch, drain_seconds=0)
    )
    engine.start()
    try:
        engine.serve_version(1)
        yield engine
    finally:
        engine.stop()


def stream_through(
    engine: InferenceEngine, prompts: Sequence[ChatPrompt], parameters: DecodingParameters
) -> StreamsRun:
    """Ask for an answer to every prompt at once, each for another person, and read them as they grow."""
    return asyncio.run(_stream_all(engine, prompts, parameters))


async def _stream_all(
    engine: InferenceEngine, prompts: Sequence[ChatPrompt], parameters: DecodingParameters
) -> StreamsRun:
    began = time.perf_counter()
    generations = [
        engine.submit(
            GenerationRequest(prompt.messages, parameters=parameters, seed=seed, asker=f"person {seed}")
        )
        for seed, prompt in enumerate(prompts)
    ]
    firsts = await asyncio.gather(*(_first_text_at(generation) for generation in generations))
    seconds = time.perf_counter() - began
    finished = [generation.wait() for generation in generations]
    return StreamsRun(
        sum(len(one.token_ids) for one in finished), seconds, tuple(first - began for first in firsts)
    )


async def _first_text_at(generation: Generation) -> float:
    """Read an answer to its end, and give the moment its first text was there."""
    first = 0.0
    async for event in generation.events():
        if event.text and not first:
            first = time.perf_counter()
    return first or time.perf_counter()
