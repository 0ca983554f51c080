"""Draws a conversation as the database has it, and what went wrong; the chat page's handlers end here."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import gradio as gr

from chat_app.container import Services
from chat_app.pages.chat_view import ChatPicture
from chat_app.pages.events import Updates
from chat_app.pages.notices import notice_text
from chat_app.presenters.chat import conversation_lines, thread_card
from chat_app.presenters.compare import waiting_pair_card
from chat_app.security import calling
from chat_app.services.choice import AS_SERVED
from chat_app.services.person import Person
from chat_app.services.thread import Thread


class ChatDrawing:
    """Asks the chat service what there is and draws it; history never comes from the browser."""

    def __init__(self, services: Services, picture: ChatPicture) -> None:
        self._services = services
        self.picture = picture
        self.words = picture.words

    @property
    def person(self) -> Person:
        """The one who looks at the page."""
        return self._services.you

    def asker(self, request: gr.Request) -> Person:
        """The one who wants an answer on the page."""
        return calling(self._services.you, "page", request)

    async def everything(self, conversation_id: int | None, announcement: str = "") -> Updates:
        """Draw the thread and the list, nothing being written by this page."""
        thread = await self.thread(conversation_id)
        return thread | await self.conversations(conversation_id) | self.picture.settled(announcement)

    async def thread(self, conversation_id: int | None, *, is_own_answer: bool = False) -> Updates:
        """Draw the turns and what waits for a vote; `is_own_answer`: this page streams the next turn."""
        if conversation_id is None:
            return self.picture.nothing_yet() | {self.picture.view.pair: ""} | self.picture.waiting(False)
        thread = await asyncio.to_thread(self._services.chat.thread, self.person, conversation_id)
        return self.given(thread, is_own_answer=is_own_answer)

    def given(self, thread: Thread, *, is_own_answer: bool = False) -> Updates:
        """Draw a thread that a service has returned."""
        updates = self.picture.thread(thread_card(thread, self.words, is_own_answer=is_own_answer))
        updates |= self.picture.waiting(thread.is_answering and not is_own_answer)
        if thread.open_comparison is None or is_own_answer:
            return updates | {self.picture.view.pair: ""}
        card = waiting_pair_card(thread.open_comparison, self.words, vote_key=uuid4().hex)
        return updates | self.picture.pair(card)

    async def choices(self, conversation_id: int | None, version_id: int | None) -> Updates:
        """Draw who may answer, set to a version asked for, else to what the conversation's last answer was.

        Raises VersionNotFound for a version that is not there.
        """
        choice = AS_SERVED
        if conversation_id is not None:
            thread = await asyncio.to_thread(self._services.chat.thread, self.person, conversation_id)
            choice = thread.choice
        if version_id is not None:
            await asyncio.to_thread(self._services.versions.get, self.person, version_id)
            choice = replace(choice, version_id=version_id)
        versions = await asyncio.to_thread(self._services.versions.list, self.person)
        return self.picture.choices(versions, choice)

    async def conversations(self, current_id: int | None) -> Updates:
        """Draw the list of conversations."""
        summaries = await asyncio.to_thread(self._services.chat.conversations, self.person)
        return self.picture.conversations(conversation_lines(summaries, current_id, self.words))

    def error(self, error: Exception) -> Updates:
        """Say what went wrong, above the composer."""
        return self.picture.notice(notice_text(error, self.words), is_error=True)

    async def after(self, error: Exception, conversation_id: int | None) -> Updates:
        """Draw what there is after a failure, and the failure."""
        try:
            shown = await self.everything(conversation_id)
        except Exception:  # the first error tells more than that drawing failed too
            shown = self.picture.settled()
        return shown | self.error(error)
