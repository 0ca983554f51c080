"""Many people at once, each with a connection and an address of their own, in one event loop."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

import httpx

from tests.soak.person import Person
from tests.soak.tally import Tally
from training.bundled import BUNDLED_PROMPTS

FOLLOW_UPS = (
    "Why?",
    "Tell me more about it.",
    "Can you say that in other words?",
    "And what do you like best?",
    "Thank you! What should I do next?",
    "Could you give me an example?",
)


def chat_together(url: str, *, people: int, seconds: float) -> Tally:
    """Let people chat for a while and tell what they met."""
    tally = Tally()
    asyncio.run(_chat(url, people, seconds, tally))
    return tally


async def _chat(url: str, people: int, seconds: float, tally: Tally) -> None:
    deadline = time.monotonic() + seconds
    openings = [*_prompts(), *FOLLOW_UPS * 100]
    async with AsyncExitStack() as closing, asyncio.TaskGroup() as everybody:
        for number in range(people):
            client = await closing.enter_async_context(_client(url, number))
            everybody.create_task(Person(number, client, openings, tally).chat_until(deadline))


def _client(url: str, number: int) -> httpx.AsyncClient:
    """A connection of its own; on Linux from an address of its own, so that places are shared out fairly.

    Without accounts the service tells people apart by their address; other systems have one loopback address only.
    """
    address = f"127.0.{1 + number // 250}.{1 + number % 250}" if sys.platform == "linux" else None
    return httpx.AsyncClient(
        base_url=url, timeout=30, transport=httpx.AsyncHTTPTransport(local_address=address)
    )


def _prompts() -> list[str]:
    lines = BUNDLED_PROMPTS.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["messages"][-1]["content"]) for line in lines]
