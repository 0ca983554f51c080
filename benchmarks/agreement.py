"""Ratings of answers: their shares with intervals, and how far two raters agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.winrate import wilson_interval

RATINGS = ("nonsense", "so-so", "sensible")  # in order: the weighted kappa counts the steps between


@dataclass(frozen=True, slots=True)
class Share:
    """A share of answers with its 95 % interval."""

    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two raters agree; the kappas (Cohen 1960, 1968) are None where chance alone would agree fully."""

    answers: int
    raw: float
    kappa: float | None
    weighted_kappa: float | None


def share_of(rating: str, ratings: Sequence[Sequence[str]]) -> Share:
    """The share of one rating among answers, each with what one or several raters said of it.

    What two raters say of one answer is not two observations: an answer counts as the share of its raters, so the
    interval is Wilson's over answers.
    """
    results = [sum(one == rating for one in raters) / len(raters) for raters in ratings]
    return Share(sum(results) / len(results), *wilson_interval(results))


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Agreement of two raters on the same answers, in the same order."""
    pairs = list(zip(first, second, strict=True))
    return Agreement(
        answers=len(pairs),
        raw=sum(a == b for a, b in pairs) / len(pairs),
        kappa=_kappa(pairs, [[float(i != j) for j in range(3)] for i in range(3)]),
        weighted_kappa=_kappa(pairs, [[abs(i - j) / 2 for j in range(3)] for i in range(3)]),
    )


def _kappa(pairs: Sequence[tuple[str, str]], weights: Sequence[Sequence[float]]) -> float | None:
    """1 − observed / expected disagreement, where two ratings i, j disagree by `weights[i][j]`."""
    numbers = [(RATINGS.index(a), RATINGS.index(b)) for a, b in pairs]
    observed = sum(weights[i][j] for i, j in numbers) / len(numbers)
    expected = sum(weights[i][j] for i, _ in numbers for _, j in numbers) / len(numbers) ** 2
    return 1 - observed / expected if expected else None
