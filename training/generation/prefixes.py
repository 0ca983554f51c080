"""Keeps the keys and values of finished rows, for the next turn of a conversation begins as the last one ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

WORTHWHILE = 8  # a shorter beginning is sooner read than looked up and copied


@dataclass(frozen=True, slots=True)
class _Kept:
    token_ids: NDArray[np.int64]
    memory: Tensor  # (2, layers, heads, tokens, head size)


class PrefixStore:
    """Rows that have left, the least recently used first to go when `max_bytes` are full."""

    def __init__(self, max_bytes: int) -> None:
        """Keep at most `max_bytes` of keys and values; 0 keeps nothing."""
        self._max_bytes = max_bytes
        self._kept: list[_Kept] = []  # least recently used first

    @property
    def bytes_kept(self) -> int:
        """How much is kept."""
        return sum(kept.memory.nbytes for kept in self._kept)

    @property
    def max_bytes(self) -> int:
        """How much may be kept."""
        return self._max_bytes

    def add(self, token_ids: Sequence[int], memory: Tensor) -> None:
        """Keep a row's memory; rows that are a beginning of it have nothing to add and go."""
        if len(token_ids) < WORTHWHILE or memory.nbytes > self._max_bytes:
            return
        new = _Kept(np.asarray(token_ids), memory)
        self._kept = [
            kept for kept in self._kept if _shared(kept.token_ids, new.token_ids) < len(kept.token_ids)
        ]
        self._kept.append(new)
        while self.bytes_kept > self._max_bytes:
            self._kept.pop(0)

    def longest(self, token_ids: Sequence[int]) -> Tensor | None:
        """Memory of the longest kept beginning of a prompt, short of its last token, whose logits are wanted."""
        wanted = np.asarray(token_ids[:-1])
        shares = [_shared(kept.token_ids, wanted) for kept in self._kept]
        if not shares or max(shares) < WORTHWHILE:
            return None
        best = int(np.argmax(shares))
        kept = self._kept.pop(best)
        self._kept.append(kept)
        return kept.memory[..., : shares[best], :]


def _shared(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    """How many tokens two rows have in common at their beginning."""
    count = min(len(left), len(right))
    parts = np.nonzero(left[:count] != right[:count])[0]
    return int(parts[0]) if len(parts) else count
