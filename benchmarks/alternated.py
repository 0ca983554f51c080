"""Runs the sides of a comparison in turn, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Found = TypeVar("Found")


def alternated(sides: Mapping[str, Callable[[int], Found]], rounds: int) -> dict[str, list[Found]]:
    """Call every side once per round with the round's number; the first of one round is the last of the next.

    Round -1 comes before, and what it gives is dropped: it warms everything up.
    """
    found: dict[str, list[Found]] = {name: [] for name in sides}
    names = list(sides)
    for name in names:
        sides[name](-1)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(sides[name](number))
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def median_and_spread(values: Sequence[float]) -> str:
    """A median with the least and the largest value, for a table."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
