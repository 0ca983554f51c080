"""What is said of a reward model: numbers against hand-worked ones."""

import pytest
import torch

from training.reward.data import RankedPrompt
from training.reward.health import correlation, measure_health, wilson_interval


def test_wilson_intervals() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_correlation() -> None:
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])) == pytest.approx(1.0)
    assert correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])) == pytest.approx(0.0)
    assert correlation(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])) == 0.0


def prompt(*lengths: int, ranks: tuple[int, ...] = (1, 2)) -> RankedPrompt:
    sequences = tuple(tuple(range(n)) for n in lengths)
    return RankedPrompt("h", sequences, (tuple(range(len(lengths))),), (ranks,), is_cut=False)


def test_accuracy_stands_beside_the_always_longer_rule() -> None:
    prompts = [prompt(5, 3), prompt(3, 5), prompt(4, 4)]
    scores = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    health = measure_health(scores, prompts)
    assert health.pairs == 3
    assert health.accuracy == pytest.approx(2 / 3)
    assert health.longer_accuracy == pytest.approx(0.5)  # right, wrong, no difference


def test_without_a_preferred_answer_nothing_is_known() -> None:
    health = measure_health(torch.zeros(2), [prompt(3, 3, ranks=(1, 1))])
    assert (health.pairs, health.accuracy, health.accuracy_low, health.accuracy_high) == (0, 0.5, 0.0, 1.0)
