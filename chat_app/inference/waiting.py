"""The line in front of the engine: groups of orders in order of arrival, bounded, each knowing its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from chat_app.inference.errors import QueueFull
from chat_app.inference.order import Order

LONGEST_RETRY_SECONDS = 30
MEMORY_OF_SECONDS = 0.1  # weight of the newest answer in the running mean


class WaitingLine:
    """Waiting orders, in groups that start together; not thread-safe, its owner holds a lock."""

    def __init__(self, max_waiting: int, max_batch: int) -> None:
        """Let at most `max_waiting` orders wait for a batch of `max_batch`."""
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._groups: list[list[Order]] = []
        self._mean_seconds = 1.0  # of recent answers, for saying when to come back

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups)

    def __iter__(self) -> Iterator[Order]:
        return (order for group in self._groups for order in group)

    @property
    def has_ready(self) -> bool:
        """Whether a group waits for a place only, and not for a version."""
        return any(_is_ready(group) for group in self._groups)

    def check_room(self, count: int) -> None:
        """Raise QueueFull when `count` more orders may not wait."""
        if len(self) + count > self._max_waiting:
            retry_after = math.ceil(self._mean_seconds * len(self) / self._max_batch)
            raise QueueFull(len(self), min(max(retry_after, 1), LONGEST_RETRY_SECONDS))

    def append(self, group: list[Order]) -> None:
        """Let a group wait behind the others. Raises QueueFull."""
        self.check_room(len(group))
        self._groups.append(group)

    def pop_ready(self, free: int) -> list[Order]:
        """Take the groups that may start on `free` places.

        First come, first served, though nobody is held up by another's version that is still loading.
        """
        starting: list[Order] = []
        staying: list[list[Order]] = []
        is_full = False
        for group in self._groups:
            is_ready = _is_ready(group)
            is_full = is_full or (is_ready and len(starting) + len(group) > free)
            if is_ready and not is_full:
                starting += group
            else:
                staying.append(group)
        self._groups = staying
        return starting

    def pop_where(self, is_leaving: Callable[[Order], bool]) -> list[Order]:
        """Take single orders out of the line."""
        leaving = [order for order in self if is_leaving(order)]
        if leaving:
            kept = ([order for order in group if order not in leaving] for group in self._groups)
            self._groups = [group for group in kept if group]
        return leaving

    def tell_places(self) -> None:
        """Tell everyone their place: 1 is next, and a group has one place."""
        for place, group in enumerate(self._groups, start=1):
            for order in group:
                order.generation.wait_at(place)

    def note_seconds(self, seconds: float) -> None:
        """Remember how long an answer took."""
        self._mean_seconds += MEMORY_OF_SECONDS * (seconds - self._mean_seconds)


def _is_ready(group: list[Order]) -> bool:
    return all(order.version.done() for order in group)
