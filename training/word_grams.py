"""Hashes every run of n words of a text: what near-duplicate search and decontamination compare."""

from __future__ import annotations

import re
import zlib

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:'[^\W\u3400-\u9fff]+)*")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with its bits well spread (Knuth's golden ratio)


def words_of(text: str) -> list[str]:
    """Lower-case words without signs; each Chinese character is a word."""
    return _WORD.findall(text.casefold())


def gram_hashes(text: str, size: int) -> NDArray[np.uint32]:
    """One 32-bit hash for each run of `size` words; for a shorter text the hash of all its words."""
    words = np.asarray([zlib.crc32(word.encode()) for word in words_of(text)], dtype=np.uint64)
    size = max(1, min(size, len(words)))
    hashes = np.zeros(max(0, len(words) - size + 1), dtype=np.uint64)
    for place in range(size):
        hashes = hashes * _MULTIPLIER + words[place : place + len(hashes)]
    return (hashes * _MULTIPLIER >> np.uint64(32)).astype(np.uint32)
