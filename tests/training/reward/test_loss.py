"""The reward loss against numbers worked out by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.reward.data import ranked_pairs
from training.reward.loss import (
    expected_agreement_ceiling,
    pair_accuracy,
    ranking_loss,
    standardisation,
    tie_losses,
    win_losses,
)


def loss_of(scores: Sequence[float], ranks: Sequence[int], tie_margin: float = 0.0) -> float:
    return float(ranking_loss(torch.tensor(scores), ranked_pairs([ranks]), tie_margin))


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_equal_scores_cost_the_logarithm_of_two_for_any_k(k: int) -> None:
    assert loss_of([0.7] * k, list(range(1, k + 1))) == pytest.approx(0.693147, abs=1e-6)


def test_a_ranking_of_three_is_the_mean_of_its_three_pairs() -> None:
    assert loss_of([2.0, 1.0, 0.0], [1, 2, 3]) == pytest.approx(0.251150, abs=1e-6)


def test_the_order_shown_does_not_matter() -> None:
    assert loss_of([0.0, 2.0, 1.0], [3, 1, 2]) == pytest.approx(0.251150, abs=1e-6)


@pytest.mark.parametrize(("difference", "win", "tie"), [(0.0, 0.974077, 1.406829), (1.0, 0.474077, 1.634165)])
def test_rao_kupper_ties(difference: float, win: float, tie: float) -> None:
    d = torch.tensor(difference)
    assert float(win_losses(d, 0.5)) == pytest.approx(win, abs=1e-6)
    assert float(tie_losses(d, 0.5)) == pytest.approx(tie, abs=1e-6)
    assert float(tie_losses(-d, 0.5)) == pytest.approx(tie, abs=1e-6)


def test_win_tie_and_loss_probabilities_add_to_one() -> None:
    d = torch.linspace(-4, 4, 17, dtype=torch.float64)
    total = (-win_losses(d, 0.7)).exp() + (-tie_losses(d, 0.7)).exp() + (-win_losses(-d, 0.7)).exp()
    torch.testing.assert_close(total, torch.ones_like(d))


def test_a_tie_at_a_large_difference_keeps_its_digits() -> None:
    # log σ(50.5) + log σ(-49.5) + log(1 - e^-1) = -49.5 - 0.458675
    assert float(tie_losses(torch.tensor(50.0), 0.5)) == pytest.approx(49.958675, abs=1e-4)


def test_without_a_margin_a_tie_adds_nothing_but_counts_as_a_pair() -> None:
    # ranks (1, 2, 2): two ordered pairs of three, each ln 2
    assert loss_of([0.0, 0.0, 0.0], [1, 2, 2]) == pytest.approx(2 * 0.693147 / 3, abs=1e-6)


def test_with_a_margin_ties_and_wins_both_count() -> None:
    # scores all equal, ranks (1, 2, 2): (2 · 0.974077 + 1.406829) / 3
    assert loss_of([0.0, 0.0, 0.0], [1, 2, 2], 0.5) == pytest.approx(1.118328, abs=1e-6)


def test_a_tie_margin_of_zero_gives_ties_no_likelihood() -> None:
    with pytest.raises(ValueError, match="tie_margin is 0"):
        tie_losses(torch.zeros(1), 0.0)


def test_two_rankings_weigh_the_same_whatever_their_sizes() -> None:
    pairs = ranked_pairs([[1, 2], [1, 2, 3]])
    scores = torch.tensor([0.0, 0.0, 2.0, 1.0, 0.0])
    assert float(ranking_loss(scores, pairs)) == pytest.approx((0.693147 + 0.251150) / 2, abs=1e-6)


def test_accuracy_counts_equal_scores_as_one_half() -> None:
    scores = torch.tensor([1.0, 0.0, 3.0, 3.0])
    assert float(pair_accuracy(scores, ranked_pairs([[1, 2], [1, 2]]))) == 0.75


def test_standardisation_takes_the_population_deviation() -> None:
    assert standardisation(torch.tensor([1.0, 2.0, 3.0])) == pytest.approx((2.0, 0.816497), abs=1e-6)


@pytest.mark.parametrize("scores", [[2.0, 2.0, 2.0], [math.nan, 1.0]])
def test_scores_that_do_not_differ_cannot_set_the_unit(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="standard deviation"):
        standardisation(torch.tensor(scores))


def test_agreement_is_not_the_ceiling() -> None:
    assert expected_agreement_ceiling(0.726) == pytest.approx(0.836154, abs=1e-5)
    assert expected_agreement_ceiling(0.4) == 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 4)), min_size=2, max_size=9), st.randoms())
def test_the_loss_ignores_order_and_a_common_offset(rows: list[tuple[float, int]], random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    scores = torch.tensor([score for score, _ in rows], dtype=torch.float64)
    pairs = ranked_pairs([[rank for _, rank in rows]])
    shuffled = ranked_pairs([[rows[i][1] for i in order]])
    loss = ranking_loss(scores, pairs, 0.5)
    torch.testing.assert_close(ranking_loss(scores[order] + 3, shuffled, 0.5), loss)


def test_the_gradient_is_right_in_float64() -> None:
    scores = torch.tensor([0.3, -0.2, 1.1, 0.4], dtype=torch.float64, requires_grad=True)
    pairs = ranked_pairs([[1, 2, 2, 3]])
    assert torch.autograd.gradcheck(lambda s: ranking_loss(s, pairs, 0.5), (scores,))
