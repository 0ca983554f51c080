"""The route that answers a conversation, whole or as a stream."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from chat_app.api.dependencies import CurrentPerson, CurrentServices
from chat_app.api.openai.request import ChatCompletionBody
from chat_app.api.openai.response import Heading, completion
from chat_app.api.openai.streaming import stream
from chat_app.services.completions import CompletionRun

router = APIRouter(tags=["chat"])


@router.post("/chat/completions")
async def create_chat_completion(
    request: Request, body: ChatCompletionBody, services: CurrentServices, person: CurrentPerson
) -> Response:
    """Answer a conversation that ends with a user turn, `n` times; closing the connection ends the answers."""
    run = await services.completions.begin(person, body.wish())
    heading = Heading(run.public_id, run.version_name, int(time.time()))
    with_logprobs = bool(body.logprobs)
    if body.stream:
        events = stream(run, heading, with_logprobs=with_logprobs, with_usage=body.includes_usage)
        return await _streamed(events)
    async with _ended_when_gone(request, run):
        finished = await run.finished()
    return JSONResponse(completion(heading, finished, with_logprobs))


async def _streamed(events: AsyncGenerator[str, None]) -> StreamingResponse:
    """Begin the stream before it is handed over, so that it is closed, and the answers with it, whatever comes."""
    first = await anext(events)

    async def all_events() -> AsyncGenerator[str, None]:
        try:
            yield first
            async for event in events:
                yield event
        finally:
            await events.aclose()

    return StreamingResponse(
        all_events(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@asynccontextmanager
async def _ended_when_gone(request: Request, run: CompletionRun) -> AsyncGenerator[None, None]:
    """End the answers when the client goes away while it waits for them."""

    async def watch() -> None:
        message: Any = await request.receive()
        while message["type"] != "http.disconnect":
            message = await request.receive()
        run.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        run.cancel()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
