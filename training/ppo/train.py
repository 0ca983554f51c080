"""PPO with a KL penalty and a pretraining mix (Ziegler et al. 2019; Ouyang et al. 2022): the loop, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.loading import LoadedModel
from training.numerics import Numerics
from training.ppo import equations
from training.ppo.checkpoint import LoopState, restore_checkpoint, save_checkpoint
from training.ppo.ordinary import OrdinaryText
from training.ppo.prompts import Prompt, PromptStream
from training.ppo.rollout import POLICY, VALUE, Rollouts, Scorer, evaluate_episodes, sample_episodes
from training.ppo.update import Learner, UpdatePlan
from training.ppo.watch import find_trouble, rollout_metrics
from training.reporting import Reporter
from training.reward.model import REWARD, RewardRecord, raw_scores
from training.roles import Roles
from training.seeds import derive_seed
from training.settings import PPOSettings


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
        """Prepare prompts and text; raises TooFewPrompts."""
        self.learner, self.scorer, self.seed, self.reporter = learner, scorer, seed, reporter
        self.roles, self.settings = learner.roles, learner.settings
        self.checkpoint = folder / "checkpoint"
        s, anchor = self.settings, self.roles.anchor
        self.prompts = PromptStream(prompts, anchor, s, seed)
        self.ordinary = OrdinaryText(ordinary_text, anchor.chat_format, s.gamma_tokens, seed)
        self.update, self.beta = 0, s.beta
        self.first_length = self.first_entropy = 0.0

    @property
    def update_count(self) -> int:
        """All updates: those that only teach the value model, then the real ones."""
        return self.settings.value_warmup_updates + self.settings.updates

    def run(self) -> tuple[str | None, dict[str, float]]:
        """Run to the end; returns why it stopped early, if it did, and the last update's numbers."""
        metrics = self._resume()
        last_good = self.roles.state(POLICY)
        while self.update < self.update_count:
            self._progress(0.0)
            # 1. Roll out: the policy answers new prompts.
            started = time.perf_counter()
            rollouts, seconds = self._roll_out()
            metrics = {**rollout_metrics(rollouts), "ppo/beta": self.beta}
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
        prompts = self.prompts.of_update(self.update, s.episodes)
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
            state = LoopState(self.update, self.beta, self.first_length, self.first_entropy, metrics)
            save_checkpoint(self.checkpoint, self.learner, state)

    def _show_samples(self) -> None:
        """Answer the same fresh prompts with the same seeds, so that only the policy differs between times."""
        if not self.prompts.shown_ids:
            return
        seeds = [derive_seed(self.seed, "shown", i) for i in range(len(self.prompts.shown_ids))]
        episodes = sample_episodes(self.roles, self.prompts.shown_ids, seeds, self.settings.max_new_tokens)
        scores = self.scorer(episodes.sequences, episodes.is_ended).tolist()
        for i, prompt in enumerate(self.prompts.shown):
            text = self.roles.anchor.chat_format.decode(episodes.completion(i))
            self.reporter.sample(self.update, prompt, text, scores[i])

    def _resume(self) -> dict[str, float]:
        """Go on from the checkpoint, if there is one; returns the numbers of the update before."""
        state = restore_checkpoint(self.checkpoint, self.learner)
        if state is None:
            return {}
        self.update, self.beta = state.update, state.beta
        self.first_length, self.first_entropy = state.first_length, state.first_entropy
        self.reporter.log(f"Resumed PPO after update {state.update} of {self.update_count}.")
        return state.metrics
