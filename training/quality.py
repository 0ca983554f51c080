"""Filters raw text by its likeness to good text, softly, so that unusual documents keep a chance (GPT-3, appendix A).

GPT-3 keeps a document if a Pareto number exceeds 1 − score. Its raw text was a mixture; ours are sources of one kind
each, which a classifier tells from the good ones at a glance, so that every score is near 0. The rank of the score
within its source takes the score's place: it runs evenly from 0 to 1 whatever the kind.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

_FEATURES = 2**16
_CHARACTERS = 4000  # of a long text, its beginning tells enough
_MOST_TEXTS = 4000  # of each kind, to learn from


def quality_ranks(good: Sequence[str], raw: Sequence[str]) -> NDArray[np.float64]:
    """For each raw text its rank in likeness to good text, 0 (least alike) to 1."""
    features = HashingVectorizer(n_features=_FEATURES, alternate_sign=False)
    chosen_good, chosen_raw = _spread(good), _spread(raw)
    classifier = LogisticRegression(class_weight="balanced", max_iter=200)
    classifier.fit(
        features.transform([text[:_CHARACTERS] for text in [*chosen_good, *chosen_raw]]),
        [1] * len(chosen_good) + [0] * len(chosen_raw),
    )
    scores = classifier.decision_function(features.transform([text[:_CHARACTERS] for text in raw]))
    ranks: NDArray[np.float64] = (rankdata(scores) - 1) / max(1, len(raw) - 1)
    return ranks


def is_kept(text: str, rank: float, *, pareto_shape: float) -> bool:
    """Draw whether a text of this rank stays: always at rank 1, with probability 2^−shape at rank 0.

    The draw follows from the text alone, so that a corpus read twice is the same.
    """
    digest = hashlib.sha256(text.encode()).digest()
    uniform = int.from_bytes(digest[:8], "big") / 2**64
    return uniform < float((2 - rank) ** -pareto_shape)  # P(Lomax(shape) > 1 − rank)


def _spread(texts: Sequence[str]) -> Sequence[str]:
    """At most so many of the texts as the classifier needs, from all over the source."""
    return texts[:: max(1, math.ceil(len(texts) / _MOST_TEXTS))]
