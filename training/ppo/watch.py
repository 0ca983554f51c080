"""What is measured on every update's rollouts, and when the run should stop because of it."""

from __future__ import annotations

from collections.abc import Mapping

from training.ppo import equations
from training.ppo.rollout import Rollouts
from training.settings import EarlyStop


def rollout_metrics(rollouts: Rollouts) -> dict[str, float]:
    """Means over the rollouts: score, KL (two estimates), length and share ended per episode, the rest per token.

    `ppo/mismatch` is how far the sampler's log-probabilities are from the trainer's.
    """
    mask, r = rollouts.episodes.completion_mask, rollouts
    mismatch = (r.logprobs - r.episodes.sampled_logprobs).abs()
    return {
        "ppo/score": float(r.scores.mean()),
        "ppo/kl": float((equations.kl_k1(r.logprobs, r.ref_logprobs) * mask).sum(1).mean()),
        "ppo/kl_k3": float((equations.kl_k3(r.logprobs, r.ref_logprobs) * mask).sum(1).mean()),
        "ppo/entropy": float(equations.masked_mean(r.entropies, mask)),
        "ppo/length": float(mask.sum(1).float().mean()),
        "ppo/share_ended": float(r.episodes.is_ended.float().mean()),
        "ppo/explained_variance": float(equations.explained_variance(r.values, r.returns, mask)),
        "ppo/mismatch": float(equations.masked_mean(mismatch, mask)),
    }


def find_trouble(
    metrics: Mapping[str, float], limits: EarlyStop, first_length: float, first_entropy: float
) -> str | None:
    """Why the run should end here, in words with numbers; None when nothing runs away."""
    kl, length, ended = metrics["ppo/kl"], metrics["ppo/length"], metrics["ppo/share_ended"]
    if kl > limits.max_kl:
        return f"KL from the reference is {kl:.1f} nats per answer, above the limit of {limits.max_kl:g}."
    if length > limits.max_length_ratio * first_length:
        return f"Answers grew from {first_length:.0f} to {length:.0f} tokens, over {limits.max_length_ratio:g} times."
    if ended < limits.min_share_ended:
        return f"Only {ended:.0%} of the answers come to an end, below the limit of {limits.min_share_ended:.0%}."
    if metrics["ppo/entropy"] < limits.min_entropy_ratio * first_entropy:
        return (
            f"Entropy fell from {first_entropy:.2f} to {metrics['ppo/entropy']:.2f} nats per token, "
            f"below {limits.min_entropy_ratio:.0%} of what it was."
        )
    if metrics["ppo/mismatch"] > limits.max_mismatch:
        return (
            f"Sampler and trainer disagree by {metrics['ppo/mismatch']:.3f} nats per token, above the limit of "
            f"{limits.max_mismatch:g}: the numerics of this machine cannot be trusted for PPO."
        )
    return None
