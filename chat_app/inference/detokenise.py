"""Turns the tokens of an answer into text as they arrive, and never shows half a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what decoders put for bytes that are no whole character (yet)
CHARACTER = 4  # a character has at most so many bytes, and a token at least one
PATIENCE = 4 * CHARACTER  # so many tokens after a character that does not end, some of them are broken


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
            self._settle(after[len(before) :], len(token_ids))
        elif len(token_ids) - self._settled_count > PATIENCE:
            self._settle_broken(before, after, token_ids)
        return self._settled.lstrip(" ")

    def _settle(self, text: str, count: int) -> None:
        self._settled += text
        self._window_start, self._settled_count = self._settled_count, count

    def _settle_broken(self, before: str, after: str, token_ids: Sequence[int]) -> None:
        """Settle up to a place that no character lies across, so that broken bytes do not pile up.

        A character that was begun `CHARACTER` tokens ago has ended by now. So where those tokens add to what the
        tokens before them give, and do not change it, a character begins.
        """
        for count in range(len(token_ids) - CHARACTER, len(token_ids) - 2 * CHARACTER, -1):
            text = self._decode(token_ids[self._window_start : count])
            if len(text) > len(before) and after.startswith(text):
                self._settle(text[len(before) :], count)
                return
