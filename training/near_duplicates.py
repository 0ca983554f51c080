"""Leaves out texts that say nearly the same as one before: MinHash signatures in locality-sensitive buckets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from datasketch import MinHash, MinHashLSH

from training.word_grams import gram_hashes

SIMILARITY = 0.8  # share of three-word runs that two texts have in common (Jaccard)
_PERMUTATIONS = 64
_COSTS = (0.1, 0.9)  # of a false find in the buckets, which comparing drops, and of a miss, which stays
_GRAM_WORDS = 3


class NearDuplicates:
    """Remembers the texts that were kept, and knows a new one that nearly repeats one of them."""

    def __init__(self, similarity: float = SIMILARITY) -> None:
        self._kept = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=_COSTS)
        self._similarity = similarity
        self._signatures: list[MinHash] = []

    def is_repeated(self, text: str) -> bool:
        """Whether a kept text is nearly this one; if none is, this one is kept."""
        signature = _signature(text)
        alike: Iterable[int] = self._kept.query(signature)
        if any(self._signatures[place].jaccard(signature) >= self._similarity for place in alike):
            return True
        self._kept.insert(len(self._signatures), signature)
        self._signatures.append(signature)
        return False


def _signature(text: str) -> MinHash:
    signature = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)  # the words are hashed already
    signature.update_batch(np.unique(gram_hashes(text, _GRAM_WORDS)).tolist())
    return signature
