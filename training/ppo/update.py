"""One PPO update: passes over the episodes in minibatches, each an optimiser step of policy, γ term and value."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.batches import grouped_by_length
from training.ppo import equations
from training.ppo.rollout import POLICY, VALUE, Rollouts, token_logprobs
from training.reward.trainer import LossNotFinite
from training.roles import Roles
from training.seeds import generator_for
from training.settings import PPOSettings

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class UpdatePlan:
    """What an update is to do: its number, its learning rates, and whether the policy learns as well as the value."""

    update: int
    policy_learning_rate: float
    value_learning_rate: float
    is_policy_learning: bool
    seed: int


class Learner:
    """Holds what learns, policy and value with their optimiser, and takes the optimiser steps of an update."""

    def __init__(
        self,
        roles: Roles,
        settings: PPOSettings,
        *,
        values_of: Callable[[Tensor], Tensor],
        microbatch_tokens: int,
    ) -> None:
        """Take roles that have their adapters; `values_of` gives raw values the unit of the scores."""
        self.roles, self.settings = roles, settings
        self.values_of, self.microbatch_tokens = values_of, microbatch_tokens
        self.policy, self.value = roles.parameters(POLICY), roles.parameters(VALUE)
        groups = [{"params": self.policy}, {"params": self.value}]
        self.optimizer = torch.optim.Adam(groups, lr=0.0, eps=1e-5)

    def update(
        self,
        rollouts: Rollouts,
        ordinary_rows: Callable[[int], Tensor],
        plan: UpdatePlan,
        progress: Progress,
    ) -> dict[str, float]:
        """Learn from the rollouts; returns the means of the update's numbers over its optimiser steps.

        `ordinary_rows(step)` gives token ids (rows, time) of ordinary text for the γ term of an optimiser step.
        Raises LossNotFinite, and what `progress` raises.
        """
        s = self.settings
        self.optimizer.param_groups[0]["lr"] = plan.policy_learning_rate
        self.optimizer.param_groups[1]["lr"] = plan.value_learning_rate
        numbers: dict[str, list[float]] = defaultdict(list)
        steps = s.epochs * s.minibatches
        for step, rows in enumerate(_minibatches(len(rollouts.scores), s, plan)):
            progress(step / steps)
            self.optimizer.zero_grad(set_to_none=True)
            if plan.is_policy_learning:
                self._policy_gradient(rollouts, rows, numbers)
                if s.gamma > 0:
                    self._ordinary_gradient(ordinary_rows(step), numbers)
                self._clip(self.policy, "policy_gradient_norm", numbers, plan)
            self._value_gradient(rollouts, rows, numbers)
            self._clip(self.value, "value_gradient_norm", numbers, plan)
            self.optimizer.step()
        means = {name: sum(values) / len(values) for name, values in numbers.items()}
        return {**means, "learning_rate": plan.policy_learning_rate}

    def _policy_gradient(
        self, rollouts: Rollouts, rows: Sequence[int], numbers: dict[str, list[float]]
    ) -> None:
        """Add the gradient of the clipped surrogate, a mean over all completion tokens of the step."""
        mask = rollouts.episodes.completion_mask
        tokens, sums = mask[rows].sum(), torch.zeros(3)
        with self.roles.playing(POLICY):
            for group in self._microbatches(rollouts, rows):
                old, advantages = (
                    self._kept(rollouts.logprobs, group, mask),
                    self._kept(rollouts.advantages, group, mask),
                )
                logprobs, _ = token_logprobs(self.roles, *rollouts.episodes.chosen(group).tensors(self.roles))
                loss = equations.policy_losses(logprobs, old, advantages, self.settings.clip).sum() / tokens
                loss.backward()  # type: ignore[no-untyped-call]
                with torch.no_grad():
                    clipped = (
                        equations.is_clipped(logprobs, old, advantages, self.settings.clip).sum() / tokens
                    )
                    change = equations.kl_k3(old, logprobs).sum() / tokens
                    sums += torch.stack([loss.detach(), clipped, change]).cpu()
        for name, value in zip(
            ("policy_loss", "clip_fraction", "approximate_kl"), sums.tolist(), strict=True
        ):
            numbers[name].append(value)

    def _ordinary_gradient(self, input_ids: Tensor, numbers: dict[str, list[float]]) -> None:
        """Add γ times the gradient of the next-token loss on ordinary text (Ouyang et al. 2022, equation 2)."""
        before = [parameter.grad.clone() for parameter in self.policy if parameter.grad is not None]
        input_ids = input_ids.to(self.roles.device)
        kept = torch.ones_like(input_ids, dtype=torch.bool)
        kept[:, -1] = False
        with self.roles.playing(POLICY):
            logits = self.roles.logits(input_ids, kept)
            loss = functional.cross_entropy(logits, input_ids[:, 1:].flatten())
            (self.settings.gamma * loss).backward()  # type: ignore[no-untyped-call]
        numbers["gamma_loss"].append(float(loss.detach()))
        after = [parameter.grad for parameter in self.policy if parameter.grad is not None]
        change = [new - old for new, old in zip(after, before, strict=True)]
        numbers["gamma_gradient_norm"].append(float(nn.utils.get_total_norm(change)))

    def _value_gradient(
        self, rollouts: Rollouts, rows: Sequence[int], numbers: dict[str, list[float]]
    ) -> None:
        """Add the gradient of the clipped value loss, a mean over all completion tokens of the step."""
        mask = rollouts.episodes.completion_mask
        tokens, total = mask[rows].sum(), 0.0
        with self.roles.playing(VALUE):
            for group in self._microbatches(rollouts, rows):
                old, returns = (
                    self._kept(rollouts.values, group, mask),
                    self._kept(rollouts.returns, group, mask),
                )
                input_ids, before, _ = rollouts.episodes.chosen(group).tensors(self.roles)
                values = self.values_of(self.roles.scalars(VALUE, input_ids, before))
                loss = equations.value_losses(values, old, returns, self.settings.value_clip).sum() / tokens
                (self.settings.value_coefficient * loss).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        numbers["value_loss"].append(total)

    def _microbatches(self, rollouts: Rollouts, rows: Sequence[int]) -> Iterator[list[int]]:
        lengths = rollouts.episodes.lengths
        for group in grouped_by_length([lengths[i] for i in rows], self.microbatch_tokens):
            yield [rows[i] for i in group]

    def _kept(self, values: Tensor, rows: Sequence[int], mask: Tensor) -> Tensor:
        """The entries of completion tokens of some episodes, in the order of `token_logprobs`: (kept,)."""
        return values[rows][mask[rows]].to(self.roles.device)

    def _clip(
        self, parameters: list[nn.Parameter], name: str, numbers: dict[str, list[float]], plan: UpdatePlan
    ) -> None:
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.max_grad_norm))
        numbers[name].append(norm)
        if not math.isfinite(norm):
            raise LossNotFinite(
                f"A gradient of PPO became {norm} in update {plan.update}. The last checkpoint is good; lower "
                f"ppo.learning_rate ({self.settings.learning_rate:g}) or ppo.value_learning_rate "
                f"({self.settings.value_learning_rate:g}) and retrain."
            )


def _minibatches(episodes: int, settings: PPOSettings, plan: UpdatePlan) -> Iterator[list[int]]:
    """Every epoch a new order of the episodes, cut into equal parts."""
    for epoch in range(settings.epochs):
        order = torch.randperm(
            episodes, generator=generator_for(plan.seed, "order", plan.update, epoch)
        ).tolist()
        for part in range(settings.minibatches):
            yield sorted(order[part * settings.minibatch_episodes : (part + 1) * settings.minibatch_episodes])
