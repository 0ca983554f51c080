"""Looks at the service once a second while people chat: its memory, queue, tokens and swaps."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.service import Service

LOOK_SECONDS = 1.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """The service at one moment; `cpu_seconds` and counts are since its start."""

    at_seconds: float
    memory_bytes: int
    cpu_seconds: float
    waiting: int
    running: int
    tokens: int
    swaps: int


@dataclass(slots=True)
class Watch:
    """All looks at the service, in order, and those that failed."""

    looks: list[Look] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first look to the last."""
        return self.looks[-1].at_seconds - self.looks[0].at_seconds

    @property
    def tokens_per_second(self) -> float:
        """Of all answers together, thinking people included."""
        return (self.looks[-1].tokens - self.looks[0].tokens) / self.seconds

    @property
    def cores(self) -> float:
        """How many processor cores the service kept busy."""
        return (self.looks[-1].cpu_seconds - self.looks[0].cpu_seconds) / self.seconds

    @property
    def longest_queue(self) -> int:
        """The most answers that waited for a place."""
        return max(look.waiting for look in self.looks)

    @property
    def swaps(self) -> int:
        """How often another version began to answer."""
        return self.looks[-1].swaps - self.looks[0].swaps

    def memory_thirds(self) -> tuple[float, float, float]:
        """Median memory in MiB in each third of the time."""
        cut = len(self.looks) // 3
        first, second, last = self.looks[:cut], self.looks[cut : 2 * cut], self.looks[2 * cut :]
        return _median_mib(first), _median_mib(second), _median_mib(last)


def _median_mib(looks: Sequence[Look]) -> float:
    return statistics.median(look.memory_bytes for look in looks) / MIB if looks else float("nan")


@contextmanager
def watching(service: Service) -> Iterator[Watch]:
    """Look at the service from a thread of its own until the block ends."""
    watch, is_over, began = Watch(), threading.Event(), time.monotonic()
    process = psutil.Process(service.process.pid)

    def look_on() -> None:
        with httpx.Client(base_url=service.url, timeout=10) as client:
            while not is_over.is_set():
                try:
                    watch.looks.append(_look(client, process, time.monotonic() - began))
                except (httpx.HTTPError, psutil.Error) as error:
                    watch.failures.append(
                        f"{time.monotonic() - began:.1f} s: {error or type(error).__name__}"
                    )
                is_over.wait(LOOK_SECONDS)

    thread = threading.Thread(target=look_on, name="watch")
    thread.start()
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()


def _look(client: httpx.Client, process: psutil.Process, at_seconds: float) -> Look:
    text = client.get("/metrics").raise_for_status().text
    figures = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.labels
    }
    times = process.cpu_times()
    return Look(
        at_seconds=at_seconds,
        memory_bytes=process.memory_info().rss,
        cpu_seconds=times.user + times.system,
        waiting=int(figures["rapport_waiting_answers"]),
        running=int(figures["rapport_running_rows"]),
        tokens=int(figures["rapport_tokens_generated_total"]),
        swaps=int(figures["rapport_version_swaps_total"]),
    )
