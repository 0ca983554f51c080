"""One person in front of the chat page, until the time is up: thinks, types, reads, and does what people do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx

from tests.soak.chat_page import ChatPage
from tests.soak.gradio_page import PageFailed
from tests.soak.tally import Answered, Ending, Tally, Trouble

REGENERATES, STOPS, LEAVES, BEGINS_ANEW = 0.15, 0.08, 0.05, 0.15  # of a turn's chances
LONGEST_CONVERSATION = 12  # turns of both sides
PATIENCE_SECONDS = 60  # for one answer, with its wait
SETTLED_SECONDS = 10  # within which an answer must have ended after its reader went away


class Person:
    """Uses one page after another with a connection, cookies and sessions of its own."""

    def __init__(self, number: int, client: httpx.AsyncClient, openings: Sequence[str], tally: Tally) -> None:
        self._number = number
        self._client = client
        self._openings = openings
        self._tally = tally
        self._chance = random.Random(number)
        self._page: ChatPage | None = None
        self._began = time.monotonic()
        self._act = "coming"

    async def chat_until(self, deadline: float) -> None:
        """Do one thing after another until `deadline`, of the monotonic clock; troubles go into the tally."""
        await asyncio.sleep(self._chance.uniform(0, 3))  # people do not come in step
        while time.monotonic() < deadline:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._take_a_turn()
            except TimeoutError:
                self._tell(f"nothing more came within {PATIENCE_SECONDS} s")
            except (PageFailed, httpx.HTTPError) as error:
                self._tell(f"{type(error).__name__}: {error}")

    async def _take_a_turn(self) -> None:
        page = self._page or await self._begin_anew(None)
        is_long = len(page.turns) >= LONGEST_CONVERSATION
        if page.turns and (is_long or self._chance.random() < BEGINS_ANEW):
            page = await self._begin_anew(page)
        await self._think()
        if page.turns[-1:] == ["model"] and self._chance.random() < REGENERATES:
            self._note("regenerating")
            await self._read(page, page.regenerate())
        else:
            self._note("sending")
            await self._read(page, page.say(self._chance.choice(self._openings)))

    async def _begin_anew(self, old: ChatPage | None) -> ChatPage:
        """Open an empty page; the conversation before is deleted, for without accounts all share one list."""
        self._page = None
        if old is not None:
            self._note("deleting a conversation")
            await old.delete()
        self._note("opening a new chat")
        self._page = await ChatPage.open(self._client)
        return self._page

    async def _read(self, page: ChatPage, changes: AsyncGenerator[None, None]) -> None:
        """Follow an answer: to its end, or to a Stop, or out of the door, at some time after the first word."""
        self._page = None  # after a failure the next turn begins with a new page
        draw = self._chance.random()
        plan: Ending = "left" if draw < LEAVES else "stopped" if draw < LEAVES + STOPS else "read"
        until = self._chance.uniform(0, 0.5)  # after the first word
        ending: Ending = "read"
        first: float | None = None
        began = time.monotonic()
        async with aclosing(changes):
            async for _ in changes:
                now = time.monotonic() - began
                first = now if first is None and page.words else first
                if first is None or plan == "read" or now < first + until or ending != "read":
                    continue
                ending = plan
                if plan == "left":
                    break
                await page.stop()
        seconds = time.monotonic() - began
        if ending == "left":
            page = await self._come_back(page.conversation)
        elif first is None and page.turns[-1:] == ["model"]:
            first = seconds  # a short answer, drawn only when it was done
        self._check(page, ending)
        self._tally.answers.append(Answered(ending, first, seconds))
        self._page = page

    async def _come_back(self, conversation: int | None) -> ChatPage:
        """Return to the conversation after a while; by then, or soon, nobody is being answered in it."""
        self._note("going away in mid-stream")
        await self._think()
        page = await ChatPage.open(self._client, conversation)
        began = time.monotonic()
        while page.is_answering_elsewhere:
            if time.monotonic() - began > SETTLED_SECONDS:
                raise PageFailed(f"Conversation {conversation} is still being answered, for nobody.")
            await asyncio.sleep(2)
            await page.look_again()
        return page

    def _check(self, page: ChatPage, ending: Ending) -> None:
        if page.trouble:
            raise PageFailed(page.trouble)
        if ending == "read" and page.turns[-1:] != ["model"]:
            raise PageFailed(f"Conversation {page.conversation} ends without an answer.")

    async def _think(self) -> None:
        await asyncio.sleep(self._chance.uniform(1, 3))

    def _note(self, act: str) -> None:
        self._act = act
        self._tally.acts[act] += 1

    def _tell(self, words: str) -> None:
        at_seconds = time.monotonic() - self._began
        self._tally.troubles.append(Trouble(at_seconds, self._number, self._act, words))
