"""The chat page as one person sees and uses it: says something, reads, regenerates, stops, begins anew, returns."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import fields
from html import unescape
from typing import Any, Self

import httpx

from chat_app.pages.chat_view import ChatView
from tests.soak.gradio_page import GradioPage

PATH = "/en/chat/"
PARTS = tuple(field.name for field in fields(ChatView))
INPUTS = ("message", "conversation", "switch", "editing", "version", "context")


class ChatPage:
    """One open chat page; its methods are its buttons, its properties are what can be read on it."""

    def __init__(self, page: GradioPage) -> None:
        self._page = page
        filled, sent = page.outputs("submit"), page.inputs("submit")
        self._ids = dict(zip(PARTS, filled, strict=True)) | dict(zip(INPUTS, sent, strict=True))

    @classmethod
    async def open(cls, client: httpx.AsyncClient, conversation: int | None = None) -> Self:
        """Open the page at a conversation, or for a new one."""
        query = "" if conversation is None else f"c={conversation}"
        page = cls(await GradioPage.open(client, PATH, query))
        async for _ in page._page.run("open"):
            pass
        return page

    def say(self, text: str) -> AsyncGenerator[None, None]:
        """Type and send; yields whenever the page has changed."""
        self._page.values[self._ids["message"]] = text
        return self._page.run("submit")

    def regenerate(self) -> AsyncGenerator[None, None]:
        """Have the last message answered once more; yields whenever the page has changed."""
        return self._page.run("retry")

    async def stop(self) -> None:
        """Press Stop, while the answer streams."""
        await self._page.fire("stop")

    async def look_again(self) -> None:
        """What the page does every two seconds while its conversation is being answered elsewhere."""
        async for _ in self._page.run("refresh"):
            pass

    async def delete(self) -> None:
        """Delete the open conversation."""
        async for _ in self._page.run("remove", {"action": "remove", "id": str(self.conversation)}):
            pass

    @property
    def conversation(self) -> int | None:
        """Id of the open conversation."""
        value = self._value("conversation")
        return None if value is None else int(value)

    @property
    def words(self) -> str:
        """What is there of the answer that is being written."""
        bubble = re.search(r'class="r-bubble"[^>]*>(.*?)</div>', self._value("live") or "", re.DOTALL)
        return _text(bubble.group(1)) if bubble else ""

    @property
    def turns(self) -> list[str]:
        """Who spoke, turn by turn: "user" or "model"."""
        return re.findall(r'<article class="r-turn r-(user|model)"', self._value("thread") or "")

    @property
    def is_answering_elsewhere(self) -> bool:
        """Whether the page waits for an answer that another page asked for."""
        note = re.search(r'<p class="r-note">(.*?)</p>', self._value("thread") or "", re.DOTALL)
        return note is not None and "data-action" not in note.group(1)

    @property
    def trouble(self) -> str:
        """The error above the composer; empty when there is none."""
        notice = self._value("notice") or ""
        return _text(notice) if "r-error" in notice else ""

    def _value(self, part: str) -> Any:
        return self._page.values[self._ids[part]]


def _text(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()
