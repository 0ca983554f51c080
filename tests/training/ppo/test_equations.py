"""The equations of PPO against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.ppo import equations


def rows(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float)


KEEP = torch.ones(1, 3, dtype=torch.bool)


def padded(values: Tensor, left: int, right: int, fill: float = 9.0) -> Tensor:
    """Padding that would be seen if a mask were ignored."""
    sides = [torch.full((values.shape[0], n), fill).to(values.dtype) for n in (left, right)]
    return torch.cat([sides[0], values, sides[1]], dim=1)


def padded_mask(mask: Tensor, left: int, right: int) -> Tensor:
    return padded(mask, left, right, fill=0)


@pytest.mark.parametrize(("left", "right"), [(0, 0), (2, 0), (0, 2), (1, 3)])
def test_advantages_and_returns_with_padding_on_either_side(left: int, right: int) -> None:
    advantages, returns = equations.advantages_and_returns(
        padded(rows(0, 0, 1), left, right),
        padded(rows(0.2, 0.5, 0.8), left, right),
        padded_mask(KEEP, left, right),
        lam=0.95,
    )
    expected = padded(rows(0.7655, 0.49, 0.2), left, right, fill=0)
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, padded(rows(0.9655, 0.99, 1), left, right, fill=0))


def test_with_lambda_zero_advantages_are_the_td_errors() -> None:
    advantages, _ = equations.advantages_and_returns(rows(0, 0, 1), rows(0.2, 0.5, 0.8), KEEP, lam=0.0)
    torch.testing.assert_close(advantages, rows(0.3, 0.3, 0.2))


def test_with_lambda_one_advantages_are_rewards_to_go_minus_value() -> None:
    advantages, _ = equations.advantages_and_returns(rows(0, 0.5, 1), rows(0.2, 0.5, 0.8), KEEP, lam=1.0)
    torch.testing.assert_close(advantages, rows(1.3, 1.0, 0.2))


def test_at_ratio_one_the_policy_loss_is_minus_the_mean_advantage() -> None:
    logprobs, advantages = rows(-1, -2, -3), rows(0.5, -0.25, 1.0)
    losses = equations.policy_losses(logprobs, logprobs, advantages, 0.2)
    assert float(losses.mean()) == pytest.approx(-0.4166667)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "loss", "has_gradient"),
    [
        (1.0, 1.0, -1.2, False),
        (1.0, -1.0, math.e, True),
        (-1.0, 1.0, -0.367879, True),
        (-1.0, -1.0, 0.8, False),
    ],
)
def test_clipping_of_the_policy_loss(
    log_ratio: float, advantage: float, loss: float, has_gradient: bool
) -> None:
    logprobs = torch.tensor([log_ratio], requires_grad=True)
    value = equations.policy_losses(logprobs, torch.zeros(1), torch.tensor([advantage]), 0.2)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert float(value.detach()) == pytest.approx(loss, abs=1e-6)
    assert logprobs.grad is not None
    assert (float(logprobs.grad) != 0) is has_gradient
    clipped = equations.is_clipped(logprobs, torch.zeros(1), torch.tensor([advantage]), 0.2)
    assert bool(clipped) is not has_gradient


def test_whitening_uses_the_population_variance() -> None:
    torch.testing.assert_close(equations.whiten(rows(1, 2, 3), KEEP), rows(-1.224745, 0.0, 1.224745))


def test_whitening_looks_at_kept_entries_only() -> None:
    whitened = equations.whiten(padded(rows(1, 2, 3), 1, 2), padded_mask(KEEP, 1, 2))
    torch.testing.assert_close(whitened, padded(rows(-1.224745, 0.0, 1.224745), 1, 2, fill=0))


def test_where_policy_and_reference_agree_only_the_score_is_left() -> None:
    logprobs = padded(rows(-1, -2, -3), 1, 2)
    rewards = equations.kl_rewards(logprobs, logprobs, torch.tensor([0.7]), padded_mask(KEEP, 1, 2), beta=0.1)
    torch.testing.assert_close(rewards, padded(rows(0, 0, 0.7), 1, 2, fill=0))


def test_the_kl_penalty_is_paid_at_each_token() -> None:
    rewards = equations.kl_rewards(rows(-1, -2, -3), rows(-2, -2, -2), torch.tensor([1.0]), KEEP, beta=0.1)
    torch.testing.assert_close(rewards, rows(-0.1, 0.0, 1.1))


def test_the_value_loss_takes_the_worse_of_clipped_and_unclipped() -> None:
    # V = 1, old 0, clip .2: clipped value .2.
    # Return 0: unclipped error 1 is worse; return 1: clipped error .64 is worse.
    losses = equations.value_losses(rows(1, 1), rows(0, 0), rows(0, 1), 0.2)
    torch.testing.assert_close(losses, rows(0.5, 0.32))


def test_kl_estimates_at_a_log_ratio_of_one() -> None:
    logprobs, ref_logprobs = torch.tensor([-1.0]), torch.tensor([-2.0])
    assert float(equations.kl_k1(logprobs, ref_logprobs)) == 1.0
    assert float(equations.kl_k3(logprobs, ref_logprobs)) == pytest.approx(0.367879, abs=1e-6)  # 1/e - 1 + 1
    assert float(equations.kl_k3(ref_logprobs, logprobs)) == pytest.approx(0.718282, abs=1e-6)  # e - 1 - 1


@pytest.mark.parametrize(
    ("kl", "expected"),
    [(6.0, 0.05), (12.0, 0.05128), (6.6, 0.05064), (0.0, 0.04872)],  # 0.05 · (1 + clip · 64/500)
)
def test_the_adaptive_coefficient_follows_the_kl(kl: float, expected: float) -> None:
    assert equations.next_beta(0.05, kl, target=6.0, episodes=64, horizon=500) == pytest.approx(expected)


def test_entropy_of_a_uniform_distribution_is_the_logarithm_of_its_size() -> None:
    assert float(equations.entropies(torch.zeros(1, 8))) == pytest.approx(2.079442)


def test_explained_variance() -> None:
    returns = rows(1, 2, 3)
    assert float(equations.explained_variance(returns, returns, KEEP)) == 1.0
    assert float(equations.explained_variance(rows(2, 2, 2), returns, KEEP)) == pytest.approx(0.0)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    left=st.integers(0, 3),
    right=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_more_padding_changes_nothing(lengths: list[int], left: int, right: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(6)[None] < torch.tensor(lengths)[:, None]
    values = {
        name: torch.randn(len(lengths), 6, generator=generator)
        for name in ("logprobs", "ref_logprobs", "values")
    }
    scores = torch.randn(len(lengths), generator=generator)
    wider = {name: padded(value, left, right) for name, value in values.items()}

    def losses(logprobs: Tensor, ref_logprobs: Tensor, values: Tensor, kept: Tensor) -> Tensor:
        rewards = equations.kl_rewards(logprobs, ref_logprobs, scores, kept, 0.1)
        advantages, returns = equations.advantages_and_returns(rewards, values, kept, 0.95)
        whitened = equations.whiten(advantages, kept)
        policy = equations.policy_losses(logprobs, ref_logprobs, whitened, 0.2)
        value = equations.value_losses(values, values + 0.3, returns, 0.2)
        return equations.masked_mean(policy + value, kept)

    torch.testing.assert_close(
        losses(**wider, kept=padded_mask(mask, left, right)), losses(**values, kept=mask)
    )


def test_gradients_of_the_losses_are_right_in_float64() -> None:
    generator = torch.Generator().manual_seed(3)
    logprobs, old, advantages = (
        torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    assert torch.autograd.gradcheck(
        lambda x: equations.policy_losses(x, old, advantages, 0.2), (logprobs.requires_grad_(),)
    )
    assert torch.autograd.gradcheck(
        lambda x: equations.value_losses(x, old, advantages, 0.2), (logprobs.requires_grad_(),)
    )
