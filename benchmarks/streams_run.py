"""What a run of several concurrent answers gives: tokens, seconds, and when each answer's first token was seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamsRun:
    """Times in seconds from the moment all answers were asked for; first tokens in any order."""

    tokens: int
    seconds: float
    first_token_seconds: tuple[float, ...]

    @property
    def tokens_per_second(self) -> float:
        """Of all answers together, the reading of their prompts in it."""
        return self.tokens / self.seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least `share` of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def first_token_percentile(runs: Iterable[StreamsRun], share: float) -> float:
    """Over the answers of all runs, in seconds."""
    return percentile([seconds for run in runs for seconds in run.first_token_seconds], share)
