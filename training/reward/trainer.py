"""TRL's `RewardTrainer` taught rankings: every completion passes once, all pairs of a prompt are one element."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from trl import RewardTrainer

from training.errors import TrainingError
from training.reporting import Reporter
from training.reward.loss import RankedPairs, pair_accuracy, ranking_loss
from training.reward.model import last_positions
from training.roles import Roles

ROW_COLUMNS = ["sequences", "positions", "ranks"]


class LossNotFinite(TrainingError):
    """A loss became NaN or infinite: training cannot go on from there."""

    code = "loss_not_finite"


class RoleScorer(nn.Module):
    """A role of the backbone as the module that a trainer trains: token ids in, one score per sequence out."""

    def __init__(self, roles: Roles, role: str) -> None:
        """Borrow the backbone; only the role's parameters have gradients while it plays."""
        super().__init__()
        self.roles, self.role = roles, role
        self.backbone, self.head = roles.language_model, roles.heads[role]
        self.config = roles.language_model.config.__class__(**roles.language_model.config.to_dict())
        self.config.num_labels = 1  # TRL refuses other models

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Score right-padded ids (sequences, time) at the last token of each: (sequences,)."""
        kept = last_positions(lengths - 1, input_ids.shape[1])
        return self.roles.scalars(self.role, input_ids, kept)

    def add_model_tags(self, tags: object) -> None:
        """Accept TRL's tags for a model card; this module is saved as an adapter and has none."""


class RankingTrainer(RewardTrainer):  # type: ignore[misc]
    """Minimises the ranking loss over rows of token ids; nothing is tokenised, and nothing dropped for its length."""

    def __init__(self, *args: Any, tie_margin: float, **kwargs: Any) -> None:
        """Take TRL's arguments, and the margin of ties."""
        self.tie_margin = tie_margin
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ROW_COLUMNS

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The loss of a batch from the collator, in nats per pair; raises LossNotFinite."""
        scores = model(inputs["input_ids"], inputs["lengths"])
        pairs: RankedPairs = inputs["pairs"].on(scores.device)
        loss = ranking_loss(scores, pairs, self.tie_margin)
        if not math.isfinite(float(loss.detach())):
            raise LossNotFinite(
                f"The reward loss became {float(loss.detach())} at step {self.state.global_step}. Lower "
                f"reward.learning_rate ({self.args.learning_rate:g}), or look for broken weights in the anchor."
            )
        if len(pairs.winners):
            accuracy = float(pair_accuracy(scores.detach(), pairs))
            self._metrics["train" if self.model.training else "eval"]["accuracy"].append(accuracy)
        return (loss, {"scores": scores}) if return_outputs else loss


class EpochWatch(TrainerCallback):  # type: ignore[misc]
    """Reports every step; each epoch measures held-out rankings, keeps the best adapter, stops when it is past."""

    def __init__(
        self,
        *,
        roles: Roles,
        role: str,
        reporter: Reporter,
        heldout: Mapping[str, Any] | None,
        tie_margin: float,
        patience: int,
    ) -> None:
        """`heldout` is one collated batch, or None when there are too few prompts to spare any."""
        self.roles, self.role, self.reporter = roles, role, reporter
        self.heldout, self.tie_margin, self.patience = heldout, tie_margin, patience
        self.best_loss, self.best_epoch, self.best_accuracy = math.inf, 0, math.nan
        self._best_state: dict[str, Tensor] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell progress, where a cancellation may be raised."""
        self.reporter.phase("reward model", state.global_step / max(1, state.max_steps))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Pass the trainer's numbers on."""
        names = {"loss": "reward/loss", "accuracy": "reward/accuracy", "grad_norm": "reward/gradient_norm"}
        values = {names[key]: float(value) for key, value in (logs or {}).items() if key in names}
        if values:
            self.reporter.metrics(state.global_step, values)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the held-out rankings and decide whether to go on."""
        epoch = round(state.epoch or 0)
        if self.heldout is None:
            self.best_epoch = epoch
            return
        loss, accuracy = self._measure(self.heldout)
        self.reporter.metrics(
            state.global_step, {"reward/heldout_loss": loss, "reward/heldout_accuracy": accuracy}
        )
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_accuracy = loss, epoch, accuracy
            self._best_state = self.roles.state(self.role)
        control.should_training_stop |= epoch - self.best_epoch >= self.patience

    def restore_best(self) -> None:
        """Put the adapter of the best epoch back."""
        if self._best_state is not None:
            self.roles.load_state(self.role, self._best_state)

    @torch.no_grad()
    def _measure(self, heldout: Mapping[str, Any]) -> tuple[float, float]:
        device = self.roles.device
        input_ids, lengths = heldout["input_ids"].to(device), heldout["lengths"].to(device)
        scores = self.roles.scalars(self.role, input_ids, last_positions(lengths - 1, input_ids.shape[1]))
        pairs: RankedPairs = heldout["pairs"].on(device)
        return float(ranking_loss(scores, pairs, self.tie_margin)), float(pair_accuracy(scores, pairs))
