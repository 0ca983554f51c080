"""Routes to chat: answers stream as server-sent events; conversations can be listed, read and deleted."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from chat_app.api.dependencies import MAX_ID, CurrentPerson, CurrentServices, Id
from chat_app.api.errors import documented, error_detail
from chat_app.services.chat import ChatEvent
from chat_app.services.choice import AnswerChoice, ExampleSet
from chat_app.services.thread import Thread

router = APIRouter(prefix="/api", tags=["chat"])


class NewMessage(BaseModel):
    """A message to a conversation of yours; without an id a new conversation begins.

    `version_id` asks another version than the one that serves; `examples` puts four exchanges of that language
    before the conversation (few-shot), which are never stored in it.
    """

    model_config = ConfigDict(extra="forbid")

    text: str
    conversation_id: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    version_id: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    examples: ExampleSet = "none"


class ConversationBody(BaseModel):
    """A line of the list of conversations."""

    id: int
    title: str
    updated_at: datetime


class TurnBody(BaseModel):
    """A message of the shown branch; `version` wrote it, after so many example exchanges."""

    message_id: int
    role: str
    content: str
    version: str | None
    example_exchanges: int
    sibling_index: int
    sibling_count: int


class ThreadBody(BaseModel):
    """The shown branch of a conversation; `comparison_id` waits for a vote."""

    id: int
    title: str
    turns: list[TurnBody]
    comparison_id: int | None
    is_answering: bool


@router.post(
    "/chat", responses={200: {"content": {"text/event-stream": {}}}, **documented(404, 409, 422, 429)}
)
async def chat(body: NewMessage, services: CurrentServices, person: CurrentPerson) -> StreamingResponse:
    """Send a message and stream the answer.

    Events: `queued` (place in the queue), `text` (the whole answer so far), `done` or `stopped` (stored, with
    its message_id), `error`. Each has JSON data. Closing the connection stops the answer.
    """
    conversation_id = body.conversation_id
    if conversation_id is None:
        conversation_id = await run_sync(services.chat.create, person)
    choice = AnswerChoice(version_id=body.version_id, examples=body.examples)
    events = services.chat.send(person, conversation_id, body.text, choice)
    first = await anext(events)  # so that a refusal has its status instead of a broken stream
    return StreamingResponse(
        _stream(conversation_id, first, events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/conversations")
def list_conversations(services: CurrentServices, person: CurrentPerson) -> list[ConversationBody]:
    """List your conversations, the newest first."""
    return [ConversationBody(**asdict(one)) for one in services.chat.conversations(person)]


@router.get("/conversations/{conversation_id}", responses=documented(404))
def get_conversation(conversation_id: Id, services: CurrentServices, person: CurrentPerson) -> ThreadBody:
    """Read the shown branch of a conversation."""
    return _thread_body(services.chat.thread(person, conversation_id))


@router.delete("/conversations/{conversation_id}", status_code=204, responses=documented(404))
def delete_conversation(conversation_id: Id, services: CurrentServices, person: CurrentPerson) -> None:
    """Take a conversation off the list."""
    services.chat.delete(person, conversation_id)


@router.post("/conversations/{conversation_id}/stop", responses=documented(404))
def stop(conversation_id: Id, services: CurrentServices, person: CurrentPerson) -> ThreadBody:
    """Stop what is being written in a conversation; what there is is kept."""
    services.chat.stop(person, conversation_id)
    return _thread_body(services.chat.thread(person, conversation_id))


async def _stream(
    conversation_id: int, first: ChatEvent, events: AsyncGenerator[ChatEvent, None]
) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        yield _event(conversation_id, first)
        try:
            async for event in events:
                yield _event(conversation_id, event)
        except Exception as error:  # the status is sent already: the stream itself has to say it
            yield _sse("error", {"error": error_detail(error).model_dump()})


def _event(conversation_id: int, event: ChatEvent) -> str:
    data = {name: value for name, value in asdict(event).items() if name != "kind" and value is not None}
    return _sse(event.kind, {"conversation_id": conversation_id, **data})


def _sse(kind: str, data: dict[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _thread_body(thread: Thread) -> ThreadBody:
    return ThreadBody(
        id=thread.conversation_id,
        title=thread.title,
        turns=[
            TurnBody(
                message_id=turn.message_id,
                role=turn.role,
                content=turn.content,
                version=turn.version_name,
                example_exchanges=turn.example_exchanges,
                sibling_index=turn.sibling_index,
                sibling_count=turn.sibling_count,
            )
            for turn in thread.turns
        ],
        comparison_id=thread.open_comparison.id if thread.open_comparison else None,
        is_answering=thread.is_answering,
    )
