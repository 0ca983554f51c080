"""One answer in the making: the engine's thread writes it, event loops and threads read it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from chat_app.inference.detokenise import Detokeniser
from chat_app.inference.errors import GenerationFailed
from chat_app.inference.request import FinishedGeneration, GenerationEvent
from chat_app.inference.stop_strings import StopStrings
from chat_app.inference.transcript import ScoredToken, tokens_within


@dataclass(eq=False, slots=True)
class _Listener:
    """An event loop that waits for news; signalled at most once until it has looked."""

    loop: asyncio.AbstractEventLoop
    news: asyncio.Event
    is_signalled: bool = False


class Generation:
    """A handle on one answer, for any number of readers on any event loop or thread.

    A slow reader sees the latest text and misses steps in between; nothing piles up.
    """

    def __init__(
        self,
        wake_engine: Callable[[], None],
        *,
        version_id: int | None = None,
        stops: StopStrings | None = None,
    ) -> None:
        """Made by the engine's `submit`; `wake_engine` tells it of a cancellation.

        `version_id` is the version that answers, None where it is neither named nor loaded yet.
        """
        self.is_cancelled = False
        self.version_id = version_id
        self._wake_engine = wake_engine
        self._stops = stops or StopStrings()
        self._scored: list[ScoredToken] = []
        self._lock = threading.Lock()
        self._listeners: set[_Listener] = set()
        self._tokens: list[int] = []
        self._queue_position: int | None = None
        self._detokeniser: Detokeniser | None = None
        self._outcome: FinishedGeneration | GenerationFailed | None = None
        self._is_done = threading.Event()

    # For readers

    async def events(self) -> AsyncGenerator[GenerationEvent, None]:
        """Yield the answer as it grows, the latest state each time, up to its whole text.

        A reader that goes away before the end cancels the answer. Raises GenerationFailed.
        """
        listener = self._listen()
        last = GenerationEvent("")
        try:
            while True:
                is_done = self._is_done.is_set()
                event = self._current_event()
                if event != last:
                    yield event
                    last = event
                if is_done:
                    self._finished_or_raise()
                    return
                await self._news(listener)
        finally:
            self._listeners.discard(listener)
            self.cancel()

    async def result(self) -> FinishedGeneration:
        """Wait for the finished answer; cancelling the wait cancels the answer. Raises GenerationFailed."""
        listener = self._listen()
        try:
            while not self._is_done.is_set():
                await self._news(listener)
            return self._finished_or_raise()
        finally:
            self._listeners.discard(listener)
            self.cancel()

    def wait(self, timeout: float | None = None) -> FinishedGeneration:
        """Block a thread until the answer is finished. Raises GenerationFailed, TimeoutError."""
        if not self._is_done.wait(timeout):
            raise TimeoutError(f"The answer was not finished within {timeout} seconds; it goes on.")
        return self._finished_or_raise()

    def cancel(self) -> None:
        """Stop before the next token; what there is becomes the result. A finished answer stays as it is."""
        if not self._is_done.is_set() and not self.is_cancelled:
            self.is_cancelled = True
            self._wake_engine()

    @property
    def is_done(self) -> bool:
        """Whether the answer is finished or has failed."""
        return self._is_done.is_set()

    # For the engine's thread

    def wait_at(self, position: int) -> None:
        """Tell readers the place in the queue."""
        if position != self._queue_position:
            self._queue_position = position
            self._notify()

    def begin(self, detokeniser: Detokeniser) -> None:
        """Leave the queue: tokens follow."""
        self._detokeniser = detokeniser
        if self._queue_position is not None:
            self._queue_position = None
            self._notify()

    def append(self, token_id: int, scored: ScoredToken | None = None) -> None:
        """Add the next token."""
        self._tokens.append(token_id)
        if scored is not None:
            self._scored.append(scored)
        self._notify()

    def settle(self, outcome: FinishedGeneration | GenerationFailed) -> None:
        """Close with the finished answer or the reason why there is none; the first outcome stands."""
        with self._lock:
            if self._outcome is not None:
                return
            self._outcome = outcome
            self._detokeniser = None  # it holds the version, and readers may hold this handle for long
        self._queue_position = None
        self._is_done.set()
        self._notify()

    # Own affairs

    def _finished_or_raise(self) -> FinishedGeneration:
        if isinstance(self._outcome, FinishedGeneration):
            return self._outcome
        assert self._outcome is not None
        raise self._outcome

    def _current_event(self) -> GenerationEvent:
        """The latest state; tokens become text here, on the reader's time and not on the engine's."""
        with self._lock:
            if isinstance(self._outcome, FinishedGeneration):
                return GenerationEvent(self._outcome.text, tokens=self._outcome.tokens)
            if self._detokeniser is None:
                return GenerationEvent("", self._queue_position)
            text = self._stops.shown(self._detokeniser.text(self._tokens[:]))
            return GenerationEvent(text, tokens=tokens_within(self._scored[:], len(text)))

    def _listen(self) -> _Listener:
        listener = _Listener(asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners.add(listener)
        return listener

    async def _news(self, listener: _Listener) -> None:
        """Sleep until something changed; look at the state only after the signal is cleared."""
        await listener.news.wait()
        listener.news.clear()
        listener.is_signalled = False

    def _notify(self) -> None:
        with self._lock:
            listeners = [listener for listener in self._listeners if not listener.is_signalled]
        for listener in listeners:
            listener.is_signalled = True
            try:
                listener.loop.call_soon_threadsafe(listener.news.set)
            except RuntimeError:  # that event loop is closed, so nobody reads there any more
                self._listeners.discard(listener)
                self.cancel()
