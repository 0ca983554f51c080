"""Turns the tokens of an answer into text as they arrive, and never shows half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what decoders put for bytes that are no whole character (yet)


class Detokeniser:
    """The text of a growing token list.

    Each call decodes only a short window: the tokens settled last, for the blanks that depend on a neighbour,
    and what came after them. Text that ends in an unfinished character waits for the tokens that finish it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """Take a function that decodes ids without special tokens, and leaves blanks as they are."""
        self._decode = decode
        self._settled = ""
        self._window_start = 0
        self._settled_count = 0

    def text(self, token_ids: Sequence[int]) -> str:
        """Give the text of all tokens so far; `token_ids` must continue those of the call before."""
        before = self._decode(token_ids[self._window_start : self._settled_count])
        after = self._decode(token_ids[self._window_start :])
        if len(after) > len(before) and not after.endswith(UNFINISHED):
            self._settled += after[len(before) :]
            self._window_start, self._settled_count = self._settled_count, len(token_ids)
        return self._settled.lstrip(" ")
