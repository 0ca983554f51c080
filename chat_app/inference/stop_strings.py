"""Texts that end an answer when they come: where they begin, and what may be shown before it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoundStop:
    """A stop string in a text, and the character at which it begins."""

    start: int
    string: str


class StopStrings:
    """Some stop strings, none of them empty; without any, a text passes as it is."""

    def __init__(self, strings: Sequence[str] = ()) -> None:
        """Take the strings; raises ValueError for an empty one, which would end every answer at once."""
        if not all(strings):
            raise ValueError("A stop string is empty. Give one character or more, or leave it out.")
        self._strings = tuple(strings)

    def find(self, text: str) -> FoundStop | None:
        """Find the stop string that begins first."""
        found = [FoundStop(text.find(string), string) for string in self._strings if string in text]
        return min(found, key=lambda stop: stop.start, default=None)

    def shown(self, text: str) -> str:
        """Give what may be shown of a text that still grows: nothing of a stop string, nor of what may become one.

        Of a longer text it is the same or more, never less.
        """
        found = self.find(text)
        if found is not None:
            return text[: found.start]
        return text[: len(text) - max((_begun(text, string) for string in self._strings), default=0)]


def _begun(text: str, string: str) -> int:
    """How many characters at the end of the text are the beginning of the string."""
    longest = min(len(text), len(string) - 1)
    return next((count for count in range(longest, 0, -1) if text.endswith(string[:count])), 0)
