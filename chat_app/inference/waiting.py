"""The line in front of the engine: groups of orders, bounded, fair between people, each knowing its place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from chat_app.inference.errors import QueueFull, TooManyWaiting
from chat_app.inference.order import Order
from chat_app.inference.settings import InferenceSettings
from chat_app.inference.turns import Turns

LONGEST_RETRY_SECONDS = 30
MEMORY_OF_SECONDS = 0.1  # weight of the newest answer in the running mean


@dataclass(frozen=True, slots=True, eq=False)
class WaitingGroup:
    """Orders that start together, and who wants them."""

    asker: str
    orders: list[Order]

    @property
    def is_ready(self) -> bool:
        """Whether the group waits for a place only, and not for a version."""
        return all(order.version.done() for order in self.orders)

    @property
    def rows(self) -> int:
        """How many places in the batch the group takes."""
        return sum(order.rows for order in self.orders)

    def __len__(self) -> int:
        return len(self.orders)


class WaitingLine:
    """Waiting orders, in groups that start together; not thread-safe, its owner holds a lock."""

    def __init__(self, settings: InferenceSettings) -> None:
        """Bound the line as the settings say."""
        self._settings = settings
        self._turns = Turns()
        self._groups: list[WaitingGroup] = []  # as they came
        self._is_told = True  # whether everyone knows their place as the line is now
        self._mean_seconds = 1.0  # of recent answers, for saying when to come back

    def __len__(self) -> int:
        return sum(len(group) for group in self._groups)

    def __iter__(self) -> Iterator[Order]:
        return (order for group in self._groups for order in group.orders)

    @property
    def group_count(self) -> int:
        """How many groups wait."""
        return len(self._groups)

    @property
    def has_ready(self) -> bool:
        """Whether a group waits for a place only, and not for a version."""
        return any(group.is_ready for group in self._groups)

    def check_room(self, asker: str, count: int) -> None:
        """Raise QueueFull when `count` more orders may not wait, TooManyWaiting when `asker` has too many."""
        if len(self) + count > self._settings.max_queue:
            raise QueueFull(len(self), self._retry_after(len(self)))
        own = [group for group in self._groups if group.asker == asker]
        if len(own) >= self._settings.max_waiting_per_person:
            raise TooManyWaiting(len(own), self._retry_after(sum(map(len, own))))

    def append(self, asker: str, orders: list[Order]) -> None:
        """Let a group wait behind the others of its asker. Raises QueueFull."""
        self.check_room(asker, len(orders))
        self._groups.append(WaitingGroup(asker, orders))
        self._is_told = False

    def pop_ready(self, free: int, running: Iterable[Order]) -> list[Order]:
        """Take the groups that may start on `free` places, beside those that are running.

        Nobody is held up by another's version that is still loading, and a group that needs more places than are
        free gets them before any that comes after it.
        """
        if not self._groups or free < 1:
            return []
        starting: list[WaitingGroup] = []
        for group in self._turns.in_turn(self._groups, _rows_by_asker(running)):
            if not group.is_ready:
                continue
            if group.rows > free:
                break
            free -= group.rows
            starting.append(group)
            self._turns.note_start(group.asker, group.rows)
        self._groups = [group for group in self._groups if group not in starting]
        self._is_told = self._is_told and not starting
        return [order for group in starting for order in group.orders]

    def pop_where(self, is_leaving: Callable[[Order], bool]) -> list[Order]:
        """Take single orders out of the line."""
        leaving = [order for order in self if is_leaving(order)]
        if leaving:
            for group in self._groups:
                group.orders[:] = [order for order in group.orders if order not in leaving]
            self._groups = [group for group in self._groups if group.orders]
            self._is_told = False
        return leaving

    def tell_places(self, running: Iterable[Order]) -> None:
        """Tell everyone their place, as turns are now: 1 is next, and a group has one place."""
        if self._is_told:
            return
        self._is_told = True
        for place, group in enumerate(self._turns.in_turn(self._groups, _rows_by_asker(running)), start=1):
            for order in group.orders:
                order.generation.wait_at(place)

    def note_seconds(self, seconds: float) -> None:
        """Remember how long an answer took."""
        self._mean_seconds += MEMORY_OF_SECONDS * (seconds - self._mean_seconds)

    def _retry_after(self, ahead: int) -> int:
        seconds = math.ceil(self._mean_seconds * ahead / self._settings.max_batch)
        return min(max(seconds, 1), LONGEST_RETRY_SECONDS)


def _rows_by_asker(running: Iterable[Order]) -> Mapping[str, int]:
    return Counter(order.request.asker for order in running)
