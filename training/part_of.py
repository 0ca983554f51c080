"""A reporter for a stage that is a part of a whole: its progress from 0 to 1 becomes a stretch of the whole's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.job_values import EventKind
from training.reporting import Reporter


@dataclass(frozen=True, slots=True)
class PartOf:
    """A reporter for a stage: its progress from 0 to 1 is a part of the whole job's."""

    whole: Reporter
    start: float
    end: float

    def phase(self, name: str, progress: float) -> None:
        """Report the phase at its place in the whole."""
        self.whole.phase(name, self.start + (self.end - self.start) * min(1.0, max(0.0, progress)))

    def metric(self, step: int, **values: float) -> None:
        """Pass numbers on."""
        self.whole.metrics(step, values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Pass numbers on."""
        self.whole.metrics(step, values)

    def log(self, text: str, kind: EventKind = "info") -> None:
        """Pass a line on."""
        self.whole.log(text, kind)

    def sample(self, step: int, prompt: Sequence[Mapping[str, Any]], text: str, score: float | None) -> None:
        """Pass a sample on."""
        self.whole.sample(step, prompt, text, score)
