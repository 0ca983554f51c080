"""What people met during a soak: every answer with its times, and everything that went wrong."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["read", "stopped", "left"]


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as the one who asked saw it: seconds from the click to the first word, and to the end."""

    ending: Ending
    first_word_seconds: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong: when, for whom, at what, and in which words."""

    at_seconds: float
    person: int
    act: str
    words: str

    def __str__(self) -> str:
        return f"{self.at_seconds:.1f} s, person {self.person}, {self.act}: {self.words}"


@dataclass(slots=True)
class Tally:
    """The answers and troubles of all people together, and how often each thing was done."""

    answers: list[Answered] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)

    @property
    def first_words(self) -> list[float]:
        """Seconds to the first word, of the answers that had one."""
        return [seconds for answer in self.answers if (seconds := answer.first_word_seconds) is not None]

    def endings(self) -> Counter[Ending]:
        """How many answers were read to the end, stopped, or left."""
        return Counter(answer.ending for answer in self.answers)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the values do not exceed; of no values, not a number."""
    if len(values) < 2:
        return values[0] if values else float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
