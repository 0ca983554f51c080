"""Adds up the seconds that functions take for themselves, while it is set on them."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Part:
    """A function, as attribute `name` of `owner`, whose seconds go to `part`.

    What it calls is taken off and counted for itself, unless the function `is_whole`.
    """

    part: str
    owner: Any
    name: str
    is_whole: bool = False


class Stopwatch:
    """Seconds by part, summed over threads; each function's own, so that the parts add up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._calls = (
            threading.local()
        )  # seconds of the inner calls, a number per open call; None in a whole one

    @contextmanager
    def on(self, parts: Sequence[Part]) -> Iterator[None]:
        """Time these functions until the block ends."""
        originals = [(part, vars(part.owner)[part.name]) for part in parts]
        for part, original in originals:
            setattr(part.owner, part.name, self._timed(part, original))
        try:
            yield
        finally:
            for part, original in originals:
                setattr(part.owner, part.name, original)

    def _timed(self, part: Part, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            open_calls = self._open_calls()
            if open_calls and open_calls[-1] is None:
                return function(*arguments, **named)
            open_calls.append(None if part.is_whole else 0.0)
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                taken = time.perf_counter() - began
                inner = open_calls.pop() or 0.0
                self.seconds[part.part] += taken - inner
                if open_calls:
                    open_calls[-1] = (open_calls[-1] or 0.0) + taken

        return timed

    def _open_calls(self) -> list[float | None]:
        if not hasattr(self._calls, "open"):
            self._calls.open = []
        calls: list[float | None] = self._calls.open
        return calls
