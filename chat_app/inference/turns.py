"""Whose turn it is: who has had the fewest answers lately goes first, so that nobody crowds the others out."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

RECENT_SECONDS = 10.0  # how long an answer that has started counts against its asker, running or not


class Group(Protocol):
    """Answers that start together, wanted by one asker."""

    @property
    def asker(self) -> str:
        """Who wants them."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the group waits for a place only."""
        ...

    @property
    def rows(self) -> int:
        """How many places in the batch they take."""
        ...


AGroup = TypeVar("AGroup", bound=Group)


class Turns:
    """Remembers who started what lately; not thread-safe, its owner holds a lock.

    Nobody starves: who gets nothing falls to a load of nothing within `RECENT_SECONDS` of their last answer's end,
    and among equal loads the one who came first goes first.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Take the clock, in seconds."""
        self._now = now
        self._starts: dict[str, deque[float]] = defaultdict(deque)

    def note_start(self, asker: str, rows: int) -> None:
        """Count rows that start now against their asker."""
        self._starts[asker].extend([self._now()] * rows)

    def in_turn(self, groups: Sequence[AGroup], running: Mapping[str, int]) -> list[AGroup]:
        """Put waiting groups, given as they came, into the order in which they get free places.

        The asker with the fewest rows running (`running`) or started lately is next, counting those that this very
        order lets start before; first come, first served within an asker and among equals.
        """
        waiting: dict[str, deque[tuple[int, AGroup]]] = defaultdict(deque)
        for arrival, group in enumerate(groups):
            waiting[group.asker].append((arrival, group))
        recent = self._recent(waiting)
        heap = [(running.get(asker, 0) + recent[asker], line[0][0], asker) for asker, line in waiting.items()]
        heapq.heapify(heap)
        order: list[AGroup] = []
        while heap:
            load, _, asker = heapq.heappop(heap)
            _, group = waiting[asker].popleft()
            order.append(group)
            if waiting[asker]:
                rows = group.rows if group.is_ready else 0
                heapq.heappush(heap, (load + rows, waiting[asker][0][0], asker))
        return order

    def _recent(self, askers: Iterable[str]) -> dict[str, int]:
        """Count each asker's recent starts, and forget all that are not recent any more."""
        oldest = self._now() - RECENT_SECONDS
        for asker, starts in list(self._starts.items()):
            while starts and starts[0] <= oldest:
                starts.popleft()
            if not starts:
                del self._starts[asker]
        return {asker: len(self._starts.get(asker, ())) for asker in askers}
