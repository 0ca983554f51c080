"""The mathematics of PPO with a KL penalty, as pure functions on tensors of shape (rows, time).

A row is an episode; an entry belongs to one token of a completion. `completion_mask` is bool and keeps the
completion's tokens; padding may lie on either side. Per-token losses are summed by the caller over a whole
optimiser step and divided by the step's token count, never averaged per microbatch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_rewards(
    logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, completion_mask: Tensor, beta: float
) -> Tensor:
    """Per-token rewards: −β (log π − log π_ref) at each token, plus the score at the last (Ziegler et al. 2019, eq. 2).

    logprobs, ref_logprobs (rows, time); scores (rows,). Returns (rows, time), 0 where the mask drops.
    """
    rewards = -beta * (logprobs - ref_logprobs) * completion_mask
    rows = torch.arange(len(scores), device=scores.device)
    return rewards.index_put((rows, last_kept(completion_mask)), scores.to(rewards.dtype), accumulate=True)


def last_kept(mask: Tensor) -> Tensor:
    """Index of the last True of each row: (rows, time) bool → (rows,) long. A row needs at least one."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, positions, -1).amax(1)


def advantages_and_returns(
    rewards: Tensor, values: Tensor, completion_mask: Tensor, lam: float, discount: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2015, eq. 16) and the value targets, advantage + value.

    rewards, values (rows, time): values[t] is the estimate before token t. Padding on either side, or inside, is
    stepped over. Returns two tensors (rows, time), 0 where the mask drops.
    """
    advantages = torch.zeros_like(rewards)
    running, next_values = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        kept = completion_mask[:, t]
        td_errors = rewards[:, t] + discount * next_values - values[:, t]
        running = torch.where(kept, td_errors + discount * lam * running, running)
        next_values = torch.where(kept, values[:, t], next_values)
        advantages[:, t] = torch.where(kept, running, 0.0)
    return advantages, (advantages + values) * completion_mask


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale to mean 0 and *population* variance 1 over the entries that the mask keeps; 0 elsewhere.

    Population variance as in OpenAI's lm-human-preferences. (rows, time) → (rows, time).
    """
    kept = values[mask]
    centred = values - kept.mean()
    return centred * torch.rsqrt(kept.var(correction=0) + 1e-8) * mask


def policy_losses(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Clipped surrogate per token, −min(ρA, clip(ρ, 1 − ε, 1 + ε)A) with ρ = π/π_old (Schulman et al. 2017, eq. 7)."""
    ratios = torch.exp(logprobs - old_logprobs)
    clipped = ratios.clamp(1 - clip, 1 + clip)
    return torch.maximum(-advantages * ratios, -advantages * clipped)


def is_clipped(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Which tokens the clip cuts off from the gradient, bool like `logprobs`."""
    ratios = torch.exp(logprobs - old_logprobs)
    return ((ratios > 1 + clip) & (advantages > 0)) | ((ratios < 1 - clip) & (advantages < 0))


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, clip: float) -> Tensor:
    """Clipped squared error per token, ½ max((V − R)², (V_clipped − R)²), V_clipped within ± clip of the old value.

    As in OpenAI's lm-human-preferences and Huang et al. 2024, detail 13.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log π − log π_ref at sampled tokens: unbiased for the KL divergence, of either sign (Schulman 2020, k1)."""
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """π_ref/π − 1 − log(π_ref/π) at sampled tokens: unbiased, never negative, less variance (Schulman 2020, k3)."""
    log_ratios = ref_logprobs - logprobs
    return torch.expm1(log_ratios) - log_ratios


def next_beta(beta: float, kl: float, target: float, episodes: int, horizon: int) -> float:
    """The adaptive KL coefficient after `episodes` more: β (1 + clip(KL/target − 1, ±0.2) · n/horizon).

    `kl` and `target` are nats per episode (Ziegler et al. 2019, section 2.2).
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * episodes / horizon)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the entries that the mask keeps."""
    return (values * mask).sum() / mask.sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 − Var(returns − values)/Var(returns) over kept entries; 1 is perfect, 0 no better than a constant."""
    kept_returns, errors = returns[mask], (returns - values)[mask]
    return 1 - errors.var(correction=0) / kept_returns.var(correction=0).clamp_min(1e-12)


def entropies(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits), in nats: (..., vocabulary) → (...)."""
    logprobs = logits.log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)
