"""Handlers of the chat page that answer at once: open, variants, undo, edit, rename, delete, vote."""

import asyncio
from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.errors import NotFound
from chat_app.pages.chat_drawing import ChatDrawing
from chat_app.pages.events import Updates
from chat_app.pages.page_events import event_data, event_id, event_text, event_vote, whole
from chat_app.presenters.compare import thanks_text
from chat_app.services.compare import answer_for


class ChatActs:
    """Each handler takes ids and text, asks one service, and returns what to draw."""

    def __init__(self, services: Services, drawing: ChatDrawing) -> None:
        self._chat = services.chat
        self._compare = services.compare
        self._drawing = drawing
        self._picture = drawing.picture

    async def open(self, request: gr.Request) -> Updates:
        """Show the conversation of the address, or an empty one, and the version that it names."""
        try:
            conversation = _id("conversation", request.query_params.get("c", ""))
            version = _id("version", request.query_params.get("version", ""))
            shown = await self._drawing.everything(conversation)
            return shown | await self._drawing.choices(conversation, version)
        except Exception as error:
            return await self._drawing.after(error, None)

    async def context_chosen(self, context: str) -> Updates:
        """Tell what examples are good for."""
        return self._picture.context_hint(context)

    async def refresh(self, conversation_id: float | None) -> Updates:
        """Look again at a conversation that another tab is having answered."""
        try:
            return await self._drawing.thread(whole(conversation_id))
        except Exception as error:
            return self._drawing.error(error)

    async def sibling(self, conversation_id: float | None, event: gr.EventData) -> Updates:
        """Show the variant before or after."""
        try:
            data = event_data(event)
            message_id, step = event_id(data), 1 if event_id(data, "step") > 0 else -1
            thread = await asyncio.to_thread(self._chat.show_sibling, self._drawing.person, message_id, step)
        except Exception as error:
            return await self._drawing.after(error, whole(conversation_id))
        return self._drawing.given(thread) | self._picture.notice("")

    async def undo(self, conversation_id: float | None) -> Updates:
        """Go back to before the last exchange; its message returns to the composer."""
        conversation = whole(conversation_id) or 0
        try:
            before = await asyncio.to_thread(self._chat.thread, self._drawing.person, conversation)
            thread = await asyncio.to_thread(self._chat.undo, self._drawing.person, conversation)
        except Exception as error:
            return await self._drawing.after(error, conversation)
        said = [turn.content for turn in before.turns if turn.role == "user"]
        composer = self._picture.editing(None, said[-1] if said else "")
        return self._drawing.given(thread) | composer | self._picture.notice("")

    async def edit(self, event: gr.EventData) -> Updates:
        """Put an earlier message into the composer; sending it again adds a variant."""
        try:
            data = event_data(event)
            return self._picture.editing(event_id(data), event_text(data, "text"))
        except Exception as error:
            return self._drawing.error(error)

    async def leave_editing(self) -> Updates:
        """Use the composer for a new message again."""
        return self._picture.editing(None)

    async def rename(self, conversation_id: float | None, event: gr.EventData) -> Updates:
        """Give a conversation another title."""
        try:
            data = event_data(event)
            title, renamed = event_text(data, "title"), event_id(data)
            await asyncio.to_thread(self._chat.rename, self._drawing.person, renamed, title)
            return await self._drawing.conversations(whole(conversation_id))
        except Exception as error:
            return self._drawing.error(error)

    async def remove(self, event: gr.EventData) -> Updates:
        """Take a conversation off the list and begin a new one."""
        try:
            deleted = event_id(event_data(event))
            await asyncio.to_thread(self._chat.delete, self._drawing.person, deleted)
            return await self._drawing.everything(None)
        except Exception as error:
            return self._drawing.error(error)

    async def vote(self, conversation_id: float | None, event: gr.EventData) -> Updates:
        """Store a vote, name the versions, and go on with the chosen answer."""
        try:
            click = event_vote(event_data(event))
            answer = answer_for(click.choice, idempotency_key=click.key, seconds=click.seconds)
            receipt = await asyncio.to_thread(
                self._compare.vote, self._drawing.person, click.comparison_id, answer
            )
            shown: dict[Any, Any] = await self._drawing.everything(whole(conversation_id))
        except Exception as error:
            return await self._drawing.after(error, whole(conversation_id))
        return shown | self._picture.notice(thanks_text(receipt, self._drawing.words))


def _id(what: str, asked: str) -> int | None:
    if not asked:
        return None
    if not asked.isdecimal():
        raise NotFound(what, asked)
    return int(asked)
