"""Keeps a training run to its length, in steps or minutes: how far it is and how fast it should learn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from training.checkpoint import Progress


@dataclass(frozen=True, slots=True)
class Length:
    """How long to train: so many steps, or so many minutes (time before a resume included)."""

    steps: int | None
    minutes: float | None

    def share_done(self, progress: Progress) -> float:
        """The share of the run that is behind us, 0 to 1."""
        if self.steps is not None:
            return min(1.0, progress.step / self.steps)
        assert self.minutes is not None
        return min(1.0, progress.seconds / (60 * self.minutes))


def learning_rate(peak: float, share_done: float, *, warm_up: float = 0.02, floor: float = 0.05) -> float:
    """Linear warm-up over the first `warm_up` of the run, then a cosine down to `floor` · `peak`."""
    if share_done < warm_up:
        return peak * max(0.05, share_done / warm_up)
    angle = math.pi * (share_done - warm_up) / (1 - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(angle)))


class Clock:
    """Counts a run's steps, tokens and seconds, also across a resume, and writes its progress lines."""

    def __init__(self, length: Length, progress: Progress) -> None:
        self.length = length
        self.progress = progress
        self._resumed_at = progress
        self._started = time.perf_counter()
        self._last_line = progress

    @property
    def share_done(self) -> float:
        return self.length.share_done(self.progress)

    @property
    def is_over(self) -> bool:
        return self.share_done >= 1

    def advance(self, tokens: int, *, agree: Callable[[float], float] = float) -> None:
        """Count one optimiser step over `tokens` tokens; `agree` gives every rank the first one's time."""
        seconds = agree(self._resumed_at.seconds + time.perf_counter() - self._started)
        here = self.progress
        self.progress = replace(here, step=here.step + 1, seconds=seconds, tokens=here.tokens + tokens)

    def line(self, loss: float) -> str:
        """One line of progress: step, loss, speed since the line before, time spent and time left."""
        here = self.progress
        before, self._last_line = self._last_line, here
        speed = (here.tokens - before.tokens) / max(1e-9, here.seconds - before.seconds)
        left = here.seconds * (1 / self.share_done - 1) if self.share_done else float("nan")
        return (
            f"step {here.step:6,}  loss {loss:.3f}  {speed:7,.0f} tokens/s  "
            f"elapsed {_clock(here.seconds)}  left {_clock(left)}"
        )


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
