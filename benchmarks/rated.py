"""Answers with what two readers said of them, and the shares of each rating by model and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.agreement import RATINGS, Agreement, Share, agreement, share_of

KINDS = ("openings", "third turns", "Chinese")
READERS = ("A", "B")

Table = list[tuple[str, ...]]  # the first row is the heading


@dataclass(frozen=True, slots=True)
class Rated:
    """One model's answer to one prompt, with the readers' ratings."""

    model: str
    kind: str
    source_id: str
    messages: Sequence[Mapping[str, str]]
    answer: str
    ratings: tuple[str, str]

    @classmethod
    def of(cls, record: Mapping[str, Any], ratings: tuple[str, str]) -> Rated:
        """From a line of the key."""
        values = {name: record[name] for name in ("model", "kind", "source_id", "messages", "answer")}
        return cls(**values, ratings=ratings)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The share of each rating among one model's answers of one kind; `reader` is "A", "B" or "both"."""

    model: str
    kind: str
    answers: int
    reader: str
    shares: Mapping[str, Share]


def verdicts(rated: Sequence[Rated]) -> list[Verdict]:
    """By kind, model and reader."""
    found = []
    for kind in KINDS:
        for model in sorted({one.model for one in rated}):
            members = [one.ratings for one in rated if (one.model, one.kind) == (model, kind)]
            if not members:
                continue
            by_reader: dict[str, Sequence[Sequence[str]]] = {
                reader: [(ratings[place],) for ratings in members] for place, reader in enumerate(READERS)
            }
            for reader, ratings in {**by_reader, "both": members}.items():
                shares = {rating: share_of(rating, ratings) for rating in reversed(RATINGS)}
                found.append(Verdict(model, kind, len(members), reader, shares))
    return found


def agreements(rated: Sequence[Rated]) -> dict[str, Agreement]:
    """How far the readers agree on each kind of answers, and on all."""
    by_kind = {kind: [one.ratings for one in rated if one.kind == kind] for kind in KINDS}
    parts = {**by_kind, "all": [one.ratings for one in rated]}
    return {
        name: agreement([a for a, _ in ratings], [b for _, b in ratings])
        for name, ratings in parts.items()
        if ratings
    }


def verdict_table(found: Sequence[Verdict]) -> Table:
    """One row per kind, model and reader."""
    rows = [
        (one.kind, one.model, str(one.answers), one.reader, *(str(share) for share in one.shares.values()))
        for one in found
    ]
    return [("answers to", "model", "number", "reader", *reversed(RATINGS)), *rows]


def agreement_table(found: Mapping[str, Agreement]) -> Table:
    """One row per kind."""
    rows = [
        (name, str(one.answers), f"{one.raw:.0%}", _decimals(one.kappa), _decimals(one.weighted_kappa))
        for name, one in found.items()
    ]
    return [("answers to", "number", "same rating", "Cohen's kappa", "linearly weighted"), *rows]


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
