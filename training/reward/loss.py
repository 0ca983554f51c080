"""The loss of a reward model on rankings: pairwise log-likelihoods with ties, averaged per ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class RankedPairs:
    """All pairs of a batch of rankings, as indices into the batch's scores.

    winners, losers (wins,) long; tied_left, tied_right (ties,) long; the weights (wins,) and (ties,) float are
    1/C(K, 2) of the ranking that a pair belongs to, so each ranking weighs 1; ranking_count is how many there are.
    """

    winners: Tensor
    losers: Tensor
    win_weights: Tensor
    tied_left: Tensor
    tied_right: Tensor
    tie_weights: Tensor
    ranking_count: int

    def on(self, device: torch.device) -> RankedPairs:
        """The same pairs on another device."""
        return RankedPairs(
            self.winners.to(device),
            self.losers.to(device),
            self.win_weights.to(device),
            self.tied_left.to(device),
            self.tied_right.to(device),
            self.tie_weights.to(device),
            self.ranking_count,
        )


def ranking_loss(scores: Tensor, pairs: RankedPairs, tie_margin: float = 0.0) -> Tensor:
    """Mean over rankings of the mean negative log-likelihood of their pairs (Ouyang et al. 2022, equation 1).

    scores (completions,): each completion of the batch once, however many pairs it is in.
    With `tie_margin` 0 ties say nothing and only count in C(K, 2). Returns a scalar, in nats.
    """
    wins = win_losses(scores[pairs.winners] - scores[pairs.losers], tie_margin)
    total = (pairs.win_weights * wins).sum()
    if tie_margin > 0:
        ties = tie_losses(scores[pairs.tied_left] - scores[pairs.tied_right], tie_margin)
        total = total + (pairs.tie_weights * ties).sum()
    return total / pairs.ranking_count


def win_losses(differences: Tensor, tie_margin: float = 0.0) -> Tensor:
    """Negative log-likelihood that the first of two wins: −log σ(d − η), elementwise.

    Bradley and Terry 1952 for η = 0; Rao and Kupper 1967 where ties were possible.
    """
    return -functional.logsigmoid(differences - tie_margin)


def tie_losses(differences: Tensor, tie_margin: float) -> Tensor:
    """Negative log-likelihood of a tie: −log(σ(d + η) − σ(d − η)), elementwise, for η > 0 (Rao and Kupper 1967).

    Computed as −log σ(η + d) − log σ(η − d) − log(1 − e^(−2η)), which is the same and loses no digits for large |d|.
    """
    if tie_margin <= 0:
        raise ValueError(f"tie_margin is {tie_margin}; ties have a likelihood only for a margin above 0.")
    chance_free = math.log(-math.expm1(-2 * tie_margin))
    return (
        -functional.logsigmoid(tie_margin + differences)
        - functional.logsigmoid(tie_margin - differences)
        - chance_free
    )


def pair_accuracy(scores: Tensor, pairs: RankedPairs) -> Tensor:
    """Share of the ordered pairs whose winner has the higher score; equal scores count one half. NaN without pairs."""
    differences = scores[pairs.winners] - scores[pairs.losers]
    return ((differences > 0).float() + 0.5 * (differences == 0).float()).mean()


def standardisation(scores: Tensor) -> tuple[float, float]:
    """Mean and population standard deviation of reference scores (completions,), which become 0 and 1.

    Raises ValueError when the scores do not differ, since nothing would set the unit.
    """
    values = scores.double()
    mean, deviation = float(values.mean()), float(values.std(correction=0))
    if not (math.isfinite(mean) and deviation > 1e-6 * max(1.0, abs(mean))):
        raise ValueError(f"The reference scores have mean {mean:.4g} and standard deviation {deviation:.4g}.")
    return mean, deviation


def expected_agreement_ceiling(agreement: float) -> float:
    """The accuracy that no model can exceed when people agree in a share `agreement` of pairs: (1 + √(2a − 1))/2.

    For noise that is independent between people (method of Ouyang et al. 2022's 72.6 %: about 84 %).
    """
    return 0.5 * (1 + math.sqrt(max(0.0, 2 * agreement - 1)))
