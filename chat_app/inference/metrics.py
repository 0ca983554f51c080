"""What the engine counts as it happens, for Prometheus: waits, tokens, steps, answers and refusals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from chat_app.inference.errors import PromptTooLong, QueueFull, TooManyWaiting, VersionUnavailable

REASONS: dict[type[Exception], str] = {
    TooManyWaiting: "person_limit",
    QueueFull: "queue_full",
    PromptTooLong: "prompt_too_long",
    VersionUnavailable: "version_unavailable",
}
ENDINGS = ("end", "length", "stop_string", "stopped", "failed")
WAITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)  # seconds
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
PACE_SECONDS = 10


class EngineMetrics:
    """The counters of one engine, in a registry of their own, so that two engines in a process do not clash.

    The decoding thread touches two of them per step, and the others once per answer; nothing here takes the
    engine's lock.
    """

    def __init__(self) -> None:
        """Begin with every reason and ending at 0, so that a rate can be taken from the first one on."""
        self.registry = registry = CollectorRegistry()
        self._queue_seconds = Histogram(
            "rapport_queue_seconds",
            "Time an answer waited for a place",
            buckets=WAITS,
            registry=registry,
        )
        self._first_token_seconds = Histogram(
            "rapport_time_to_first_token_seconds",
            "Time from the request to the first token",
            buckets=WAITS,
            registry=registry,
        )
        self._step_rows = Histogram(
            "rapport_step_rows",
            "Answers that got a token in a step of a version's batch",
            buckets=ROWS,
            registry=registry,
        )
        self._tokens = Counter("rapport_tokens_generated", "Tokens generated", registry=registry)
        self._refused = Counter(
            "rapport_requests_refused",
            "Requests refused before they waited",
            ["reason"],
            registry=registry,
        )
        self._answers = Counter(
            "rapport_answers", "Answers by their ending", ["finish_reason"], registry=registry
        )
        self._pace = TokenPace()
        for reason in REASONS.values():
            self._refused.labels(reason)
        for ending in ENDINGS:
            self._answers.labels(ending)

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second, all answers together, over the last ten seconds."""
        return self._pace.per_second()

    def note_start(self, waited_seconds: float) -> None:
        """An answer has got a place."""
        self._queue_seconds.observe(waited_seconds)

    def note_first_token(self, seconds: float) -> None:
        """An answer has got its first token, so long after it was asked for."""
        self._first_token_seconds.observe(seconds)

    def note_step(self, tokens: int) -> None:
        """A step has given that many answers a token; none, while it only read prompts."""
        if tokens:
            self._step_rows.observe(tokens)
            self._tokens.inc(tokens)
            self._pace.add(tokens)

    def note_ending(self, ending: str) -> None:
        """An answer is over."""
        self._answers.labels(ending).inc()

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Count a refusal that comes out of the block, and let it pass."""
        try:
            yield
        except tuple(REASONS) as error:
            self._refused.labels(REASONS[type(error)]).inc()
            raise


class TokenPace:
    """How many tokens came in each of the last seconds; one thread adds, any may look."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Take the clock, in seconds."""
        self._now = now
        self._counts = [(0, 0)] * (
            PACE_SECONDS + 2
        )  # second, tokens: a slot is replaced whole, without a lock

    def add(self, tokens: int) -> None:
        """Count tokens that have come now."""
        second = int(self._now())
        slot = second % len(self._counts)
        before = self._counts[slot]
        self._counts[slot] = (second, tokens + (before[1] if before[0] == second else 0))

    def per_second(self) -> float:
        """The mean over the last ten whole seconds."""
        this_second = int(self._now())
        recent = [tokens for second, tokens in self._counts if 0 < this_second - second <= PACE_SECONDS]
        return sum(recent) / PACE_SECONDS
