"""Beam search over some rows of a batch: which continuations live on, and when the best one is found."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A completion with its end: the mean log-probability of its tokens, and the tokens."""

    score: float
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Beams:
    """The `width` best beginnings of one completion, a token longer after each `advance`.

    The same search as the library's with length penalty 1: a completion that ends counts by its mean
    log-probability if it is among the `width` likeliest of its step, and the search ends when no beginning has a better
    mean than the worst of `width` ended ones.
    """

    def __init__(self, width: int, *, limit: int, stop_ids: Collection[int]) -> None:
        """Search for a completion of at most `limit` tokens."""
        self.width = width
        self.beginnings = [Hypothesis(0.0, (), ()) for _ in range(width)]
        self._ended: list[Hypothesis] = []
        self._limit = limit
        self._stop_ids = frozenset(stop_ids)

    @property
    def best(self) -> Hypothesis | None:
        """The completion found, once the search is over; None before."""
        return self._ended[0] if self._is_over() else None

    def advance(self, logprobs: Tensor) -> list[int]:
        """Extend every beginning by one token.

        logprobs (width, vocabulary) of the next tokens, float32. Returns for each new beginning the number of the
        old one that it continues.
        """
        length = len(self.beginnings[0].tokens) + 1
        sums = [float(sum(one.logprobs)) for one in self.beginnings]
        totals = torch.tensor(sums, device=logprobs.device)
        if length == 1:
            totals[1:] = -torch.inf  # all beginnings are the same one
        candidates = (totals[:, None] + logprobs).flatten()
        # as many as may end now, and `width` that go on
        wanted = min(self.width * (1 + len(self._stop_ids)), len(candidates))
        found = candidates.topk(wanted).indices.tolist()
        vocabulary = logprobs.shape[-1]
        living: list[Hypothesis] = []
        parents: list[int] = []
        for place, number in enumerate(found):
            parent, token = divmod(number, vocabulary)
            extended = self._extended(parent, token, float(logprobs[parent, token]))
            if token in self._stop_ids or length == self._limit:
                if place < self.width:
                    self._ended.append(extended)
            elif len(living) < self.width:
                living.append(extended)
                parents.append(parent)
        self._ended = sorted(self._ended, key=lambda one: -one.score)[: self.width]
        self.beginnings = living
        return parents

    def _extended(self, parent: int, token: int, logprob: float) -> Hypothesis:
        before = self.beginnings[parent]
        logprobs = (*before.logprobs, logprob)
        return Hypothesis(sum(logprobs) / len(logprobs), (*before.tokens, token), logprobs)

    def _is_over(self) -> bool:
        if not self.beginnings:
            return True
        return len(self._ended) == self.width and self._ended[-1].score >= self.beginnings[0].score
