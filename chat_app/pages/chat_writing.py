"""Handlers of the chat page that stream: a message and its answer, two answers to compare, a stop."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import gradio as gr

from chat_app.container import Services
from chat_app.pages.chat_drawing import ChatDrawing
from chat_app.pages.events import Updates
from chat_app.pages.page_events import answer_choice, event_data, event_text, whole
from chat_app.presenters.chat import live_card
from chat_app.presenters.compare import pair_card
from chat_app.services.chat import ChatEvent
from chat_app.services.pair import PairEvent

REDRAW_SECONDS = 0.05  # an eye sees no more than twenty states of a text in a second

Stream = AsyncGenerator[Updates, None]


class ChatWriting:
    """Each handler takes ids and text and yields what to draw; a failure is drawn over what is stored."""

    def __init__(self, services: Services, drawing: ChatDrawing) -> None:
        self._services = services
        self._drawing = drawing
        self._picture = drawing.picture

    async def submit(
        self,
        text: str,
        conversation_id: float | None,
        is_pair: bool,
        editing: float | None,
        version: float | None,
        context: str | None,
        request: gr.Request,
    ) -> Stream:
        """Send a message, or the changed wording of an earlier one, and stream one answer or two."""
        conversation, changed = whole(conversation_id), whole(editing)
        person = self._drawing.asker(request)
        try:
            choice = answer_choice(version, context, self._drawing.words)
            if conversation is None:
                conversation = await asyncio.to_thread(self._services.chat.create, person)
            if changed is not None:
                stream = self._answer(self._services.chat.edit(person, changed, text, choice), conversation)
            elif is_pair:
                opened = self._services.compare.open_in_chat(person, conversation, text, choice)
                stream = self._pair(opened, conversation)
            else:
                stream = self._answer(
                    self._services.chat.send(person, conversation, text, choice), conversation
                )
            async with aclosing(stream):
                async for updates in stream:
                    yield updates
        except Exception as error:
            yield await self._drawing.after(error, conversation)

    async def opening(
        self,
        is_pair: bool,
        version: float | None,
        context: str | None,
        event: gr.EventData,
        request: gr.Request,
    ) -> Stream:
        """Begin a conversation with one of the offered openings."""
        text = event_text(event_data(event), "text")
        stream = self.submit(text, None, is_pair, None, version, context, request)
        async with aclosing(stream):
            async for updates in stream:
                yield updates

    async def retry(
        self,
        conversation_id: float | None,
        version: float | None,
        context: str | None,
        request: gr.Request,
    ) -> Stream:
        """Answer the last message once more."""
        conversation = whole(conversation_id) or 0

        async def again() -> Stream:
            choice = answer_choice(version, context, self._drawing.words)
            events = self._services.chat.regenerate(self._drawing.asker(request), conversation, choice)
            async for updates in self._answer(events, conversation, is_new=False):
                yield updates

        async for updates in self._guarded(again(), conversation):
            yield updates

    async def pair(
        self,
        conversation_id: float | None,
        version: float | None,
        context: str | None,
        request: gr.Request,
    ) -> Stream:
        """Write two answers to the last message."""
        conversation = whole(conversation_id) or 0

        async def again() -> Stream:
            choice = answer_choice(version, context, self._drawing.words)
            person = self._drawing.asker(request)
            events = self._services.compare.open_in_chat(person, conversation, None, choice)
            async for updates in self._pair(events, conversation, is_new=False):
                yield updates

        async for updates in self._guarded(again(), conversation):
            yield updates

    async def stop(self, conversation_id: float | None) -> Updates:
        """Stop what is being written; the handler that streams it then draws what there is."""
        conversation = whole(conversation_id) or 0
        try:
            await asyncio.to_thread(self._services.chat.stop, self._drawing.person, conversation)
        except Exception as error:
            return self._drawing.error(error)
        return self._picture.notice("")  # Gradio takes an empty dict for a missing answer

    async def _guarded(self, stream: Stream, conversation: int) -> Stream:
        try:
            async with aclosing(stream):
                async for updates in stream:
                    yield updates
        except Exception as error:
            yield await self._drawing.after(error, conversation)

    async def _accepted(self, conversation: int, *, is_new: bool) -> Updates:
        """Draw the stored message, and empty the composer it came from."""
        updates = await self._drawing.thread(conversation, is_own_answer=True)
        updates |= self._picture.answering() | self._picture.notice("")
        return updates | (self._picture.editing(None) if is_new else {})

    async def _answer(
        self, events: AsyncGenerator[ChatEvent, None], conversation: int, *, is_new: bool = True
    ) -> Stream:
        is_accepted = False
        async with aclosing(_paced(events)) as paced:
            async for event in paced:
                if event.kind in ("queued", "text"):
                    updates = {} if is_accepted else await self._accepted(conversation, is_new=is_new)
                    is_accepted = True
                    yield updates | self._picture.live(live_card(event, self._drawing.words))
                else:
                    yield await self._answered(event, conversation)

    async def _answered(self, event: ChatEvent, conversation: int) -> Updates:
        words = self._drawing.words.chat
        updates = await self._drawing.everything(conversation, words.answered)
        if event.dropped_messages:
            updates |= self._picture.notice(words.dropped.format(count=event.dropped_messages))
        return updates

    async def _pair(
        self, events: AsyncGenerator[PairEvent, None], conversation: int, *, is_new: bool = True
    ) -> Stream:
        is_accepted = False
        async with aclosing(_paced(events)) as paced:
            async for event in paced:
                if event.kind == "stopped":
                    stopped = self._picture.notice(self._drawing.words.compare.stopped)
                    yield await self._drawing.everything(conversation) | stopped
                    continue
                updates = {} if is_accepted else await self._accepted(conversation, is_new=is_new)
                is_accepted = True
                updates |= self._picture.pair(pair_card(event, self._drawing.words, vote_key=uuid4().hex))
                if event.kind == "done":
                    updates |= self._picture.settled(self._drawing.words.compare.question)
                    updates |= await self._drawing.conversations(conversation)
                yield updates


async def _paced(events: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Leave out texts that come faster than anyone can read; every event holds the whole text so far."""
    drawn_at = 0.0
    async with aclosing(events):
        async for event in events:
            now = time.monotonic()
            if event.kind != "text" or now - drawn_at >= REDRAW_SECONDS:
                drawn_at = now
                yield event
