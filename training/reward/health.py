"""What can be believed of a reward model: its accuracy on held-out rankings beside the cheap baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from training.reward.data import RankedPrompt, pairs_of_prompts
from training.reward.loss import pair_accuracy


@dataclass(frozen=True, slots=True)
class RewardHealth:
    """Held-out accuracy with its 95 % interval, the always-longer rule on the same pairs, and the pull of length.

    `pairs` counts ordered pairs; with none, the accuracies are 0.5 and the interval is (0, 1).
    """

    pairs: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    longer_accuracy: float
    score_length_correlation: float

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Numbers by name, such as "heldout_accuracy" for the prefix "heldout"."""
        return {f"{prefix}_{name}": float(value) for name, value in asdict(self).items()}


def measure_health(scores: Tensor, prompts: Sequence[RankedPrompt]) -> RewardHealth:
    """Compare scores (sequences,), in the order of the prompts' sequences, with how people ranked them."""
    pairs = pairs_of_prompts([prompt.as_row() for prompt in prompts])
    lengths = torch.tensor([float(len(sequence)) for prompt in prompts for sequence in prompt.sequences])
    count = len(pairs.winners)
    if not count:
        return RewardHealth(0, 0.5, 0.0, 1.0, 0.5, 0.0)
    accuracy = float(pair_accuracy(scores, pairs))
    low, high = wilson_interval(accuracy * count, count)
    return RewardHealth(
        pairs=count,
        accuracy=accuracy,
        accuracy_low=low,
        accuracy_high=high,
        longer_accuracy=float(pair_accuracy(lengths, pairs)),  # pairs share a prompt: its length cancels
        score_length_correlation=correlation(scores, lengths),
    )


def wilson_interval(successes: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); z 1.96 gives 95 %. Without trials it is (0, 1)."""
    if count == 0:
        return 0.0, 1.0
    share, spread = successes / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def correlation(left: Tensor, right: Tensor) -> float:
    """Pearson's correlation of two vectors; 0 where one of them does not vary."""
    a, b = left.double() - left.double().mean(), right.double() - right.double().mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0
