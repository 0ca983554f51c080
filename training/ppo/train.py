"""PPO with a KL penalty and a pretraining mix (Ziegler et al. 2019; Ouyang et al. 2022): the loop, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import TrainingError
from training.loading import LoadedModel
from training.numerics import Numerics
from training.ppo import equations
from training.ppo.checkpoint import LoopState, restore_checkpoint, save_checkpoint
from training.ppo.ordinary import OrdinaryText
from training.ppo.rollout import POLICY, VALUE, Rollouts, Scorer, evaluate_episodes, sample_episodes
from training.ppo.update import Learner, UpdatePlan
from training.reporting import Reporter
from training.reward.data import fitted_prompt
from training.reward.model import REWARD, RewardRecord, raw_scores
from training.roles import Roles
from training.seeds import derive_seed, generator_for
from training.settings import EarlyStop, PPOSettings

Prompt = Sequence[Mapping[str, str]]


class TooFewPrompts(TrainingError):
    """There is nothing to roll out from."""

    code = "too_few_prompts"


@dataclass(frozen=True, slots=True)
class PPOResult:
    """Where the policy's adapter was written, how many updates it took, why it stopped early, and the last numbers."""

    adapter_folder: Path
    updates: int
    stopped_because: str | None
    metrics: dict[str, float]


def train_ppo(
    *,
    anchor: LoadedModel,
    start_adapter: Path | None,
    reward_folder: Path,
    prompts: Sequence[Prompt],
    ordinary_text: Sequence[str],
    settings: PPOSettings,
    numerics: Numerics,
    microbatch_tokens: int,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> PPOResult:
    """Train a policy adapter against the reward model of `reward_folder`, and write it to `folder`/policy.

    The reference is the anchor; the policy starts from it, or from `start_adapter`; the value model starts as the
    reward model. A checkpoint in `folder` is resumed, and ends in the same weights as an unbroken run.
    Raises TooFewPrompts, AdapterMismatch, LossNotFinite, and what the reporter raises.
    """
    record = RewardRecord.read(reward_folder)
    with Roles(anchor, numerics) as roles:
        if start_adapter is None:
            roles.add(POLICY, settings.lora, seed=derive_seed(seed, "policy adapter"))
        else:
            roles.load(POLICY, start_adapter)
        roles.load(REWARD, reward_folder, has_head=True)
        roles.load(VALUE, reward_folder, has_head=True)

        def values_of(raw: Tensor) -> Tensor:
            return (raw - record.mean) / record.deviation

        def scorer(sequences: Sequence[Sequence[int]], is_ended: Tensor) -> Tensor:
            fitted = [sequence[-record.max_tokens :] for sequence in sequences]
            scores = values_of(raw_scores(roles, REWARD, fitted, max_batch_tokens=microbatch_tokens))
            return torch.where(is_ended, scores, settings.no_end_penalty)

        learner = Learner(roles, settings, values_of=values_of, microbatch_tokens=microbatch_tokens)
        loop = PPOLoop(learner, scorer, prompts, ordinary_text, folder, seed, reporter)
        stopped_because, metrics = loop.run()
        roles.save(POLICY, folder / "policy")
    return PPOResult(folder / "policy", loop.update, stopped_because, metrics)


class PPOLoop:
    """The loop of one run, from the first update or from a checkpoint to the last."""

    def __init__(
        self,
        learner: Learner,
        scorer: Scorer,
        prompts: Sequence[Prompt],
        ordinary_text: Sequence[str],
        folder: Path,
        seed: int,
        reporter: Reporter,
    ) -> None:
        """Encode the prompts; the last few are never trained on and show how answers change."""
        self.learner, self.scorer, self.seed, self.reporter = learner, scorer, seed, reporter
        self.roles, self.settings = learner.roles, learner.settings
        self.checkpoint = folder / "checkpoint"
        anchor, s = self.roles.anchor, self.settings
        if len(prompts) <= s.sample_prompts:
            raise TooFewPrompts(
                f"There are {len(prompts)} prompts for PPO, and {s.sample_prompts} of them are kept to show samples. "
                "Add prompts to the library, or lower ppo.sample_prompts."
            )
        room = anchor.context_length - s.max_new_tokens
        encoded = [fitted_prompt(prompt, anchor.chat_format, room)[0] for prompt in prompts]
        count = len(prompts) - s.sample_prompts
        self.prompts, self.shown, self.shown_ids = encoded[:count], prompts[count:], encoded[count:]
        self.ordinary = OrdinaryText(ordinary_text, anchor.chat_format, s.gamma_tokens, seed)
        self.update, self.beta = 0, s.beta
        self.first_length = self.first_entropy = 0.0

    @property
    def update_count(self) -> int:
        """All updates: those that only teach the value model, then the real ones."""
        return self.settings.value_warmup_updates + self.settings.updates

    def run(self) -> tuple[str | None, dict[str, float]]:
        """Run to the end; returns why it stopped early, if it did, and the last update's numbers."""
        self._resume()
        last_good = self.roles.state(POLICY)
        metrics: dict[str, float] = {}
        while self.update < self.update_count:
            self._progress(0.0)
            # 1. Roll out: the policy answers new prompts.
            started = time.perf_counter()
            rollouts, seconds = self._roll_out()
            metrics = self._rollout_metrics(rollouts)
            if self.update == 0:
                self.first_length, self.first_entropy = metrics["ppo/length"], metrics["ppo/entropy"]
            # 2. Stop where the policy runs away, with the last weights that had not.
            trouble = find_trouble(metrics, self.settings.early_stop, self.first_length, self.first_entropy)
            if trouble:
                self.roles.load_state(POLICY, last_good)
                self.reporter.log(f"PPO stopped before update {self.update}: {trouble}", kind="warning")
                return trouble, metrics
            last_good = self.roles.state(POLICY)
            # 3. Learn from the rollouts.
            learned = time.perf_counter()
            numbers = self.learner.update(rollouts, self._ordinary_rows, self._plan(), self._progress)
            metrics |= {f"ppo/{name}": value for name, value in numbers.items()}
            # 4. Move the KL coefficient.
            if self.settings.kl_target is not None and self._is_policy_learning:
                self.beta = equations.next_beta(
                    self.beta,
                    metrics["ppo/kl"],
                    self.settings.kl_target,
                    self.settings.episodes,
                    self.settings.horizon_episodes,
                )
            # 5. Tell, and remember.
            ended = time.perf_counter()
            metrics |= {**seconds, "ppo/seconds_update": ended - learned, "ppo/seconds": ended - started}
            self._finish_update(metrics)
        return None, metrics

    def _roll_out(self) -> tuple[Rollouts, dict[str, float]]:
        s, started = self.settings, time.perf_counter()
        prompts = [self.prompts[i] for i in self._prompt_indices()]
        seeds = [derive_seed(self.seed, "episode", self.update, i) for i in range(s.episodes)]
        episodes = sample_episodes(self.roles, prompts, seeds, s.max_new_tokens)
        sampled = time.perf_counter()
        rollouts = evaluate_episodes(
            self.roles,
            episodes,
            scorer=self.scorer,
            values_of=self.learner.values_of,
            beta=self.beta,
            gae_lambda=s.gae_lambda,
            microbatch_tokens=self.learner.microbatch_tokens,
        )
        return rollouts, {
            "ppo/seconds_rollout": sampled - started,
            "ppo/seconds_scoring": time.perf_counter() - sampled,
            "ppo/tokens_per_second": float(episodes.completion_mask.sum()) / (sampled - started),
        }

    def _prompt_indices(self) -> list[int]:
        """The prompts of this update: pass after pass over all of them, each in a new order."""
        first = self.update * self.settings.episodes
        indices: list[int] = []
        for position in range(first, first + self.settings.episodes):
            order, place = divmod(position, len(self.prompts))
            if place == 0 or not indices:
                generator = generator_for(self.seed, "prompts", order)
                permutation = torch.randperm(len(self.prompts), generator=generator).tolist()
            indices.append(permutation[place])
        return indices

    def _rollout_metrics(self, rollouts: Rollouts) -> dict[str, float]:
        mask, r = rollouts.episodes.completion_mask, rollouts
        mismatch = (r.logprobs - r.episodes.sampled_logprobs).abs()[mask]
        return {
            "ppo/score": float(r.scores.mean()),
            "ppo/kl": float((equations.kl_k1(r.logprobs, r.ref_logprobs) * mask).sum(1).mean()),
            "ppo/kl_k3": float((equations.kl_k3(r.logprobs, r.ref_logprobs) * mask).sum(1).mean()),
            "ppo/entropy": float(equations.masked_mean(r.entropies, mask)),
            "ppo/length": float(mask.sum(1).float().mean()),
            "ppo/share_ended": float(r.episodes.is_ended.float().mean()),
            "ppo/explained_variance": float(equations.explained_variance(r.values, r.returns, mask)),
            "ppo/beta": self.beta,
            "ppo/mismatch": float(mismatch.mean()),
        }

    @property
    def _is_policy_learning(self) -> bool:
        return self.update >= self.settings.value_warmup_updates

    def _plan(self) -> UpdatePlan:
        """Learning rates rise over the first updates and fall to nothing after the last."""
        s, done = self.settings, max(0, self.update - self.settings.value_warmup_updates)
        warmup = max(1, round(s.learning_rate_warmup * s.updates))
        pace = min(1.0, (done + 1) / warmup) * (1 - done / s.updates)
        return UpdatePlan(
            update=self.update,
            policy_learning_rate=s.learning_rate * pace,
            value_learning_rate=s.value_learning_rate * pace,
            is_policy_learning=self._is_policy_learning,
            seed=self.seed,
        )

    def _ordinary_rows(self, step: int) -> Tensor:
        return self.ordinary.rows(self.settings.gamma_examples, self.update, step)

    def _progress(self, share: float) -> None:
        self.reporter.phase("PPO", (self.update + share) / self.update_count)

    def _finish_update(self, metrics: dict[str, float]) -> None:
        s, self.update = self.settings, self.update + 1
        self.reporter.metrics(self.update, metrics)
        is_last = self.update == self.update_count
        if is_last or self.update % s.sample_every == 0 or self.update == s.value_warmup_updates:
            self._show_samples()
        if is_last or self.update % s.checkpoint_every == 0:
            state = LoopState(self.update, self.beta, self.first_length, self.first_entropy)
            save_checkpoint(self.checkpoint, self.learner, state)

    def _show_samples(self) -> None:
        """Answer the same fresh prompts with the same seeds, so that only the policy differs between times."""
        if not self.shown_ids:
            return
        seeds = [derive_seed(self.seed, "shown", i) for i in range(len(self.shown_ids))]
        episodes = sample_episodes(self.roles, self.shown_ids, seeds, self.settings.max_new_tokens)
        scores = self.scorer(episodes.sequences, episodes.is_ended).tolist()
        for i, prompt in enumerate(self.shown):
            text = self.roles.anchor.chat_format.decode(episodes.completion(i))
            self.reporter.sample(self.update, prompt, text, scores[i])

    def _resume(self) -> None:
        state = restore_checkpoint(self.checkpoint, self.learner)
        if state is not None:
            self.update, self.beta = state.update, state.beta
            self.first_length, self.first_entropy = state.first_length, state.first_entropy
            self.reporter.log(f"Resumed PPO after update {state.update} of {self.update_count}.")


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
