"""The loop that pretraining and fine-tuning share: accumulate, step, report, validate, save, stop in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.checkpoint import Progress, fingerprint, restore_checkpoint, save_checkpoint
from training.language_modelling import loss_line, make_optimizers, step_optimizers
from training.learning_settings import RunSettings
from training.pace import Clock, Length
from training.ranks import Ranks
from training.whole_files import whole

Report = Callable[[str], None]
_NOT_IN_FINGERPRINT = {
    "output_dir",
    "minutes",
    "steps",
    "patience",
    "compile_model",
    "checkpoint_minutes",
    "base_share",
}
_REPORT_STEPS = 25


class Material(Protocol):
    """What a run learns from, seen by the loop."""

    def backward(self, step: int, part: int) -> tuple[float, int]:
        """Add the gradient of one part of a step; returns its loss and the tokens read by all ranks."""
        ...

    def heldout_losses(self) -> Mapping[str, float]:
        """Loss per token of each source's held-out part, in nats."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a run ended, and the held-out losses of the weights that it leaves in the model."""

    progress: Progress
    heldout_loss: Mapping[str, float]


def learn(
    settings: RunSettings, model: nn.Module, material: Material, ranks: Ranks, report: Report
) -> Outcome:
    """Train to the end, resuming from the output folder's checkpoint where there is one."""
    run = _Run(settings, model, material, ranks, report)
    while not run.is_over:
        run.step()
        if run.clock.progress.step % _REPORT_STEPS == 0:
            report(run.clock.line(run.loss))
        if run.clock.progress.step % settings.validate_steps == 0:
            run.validate()
        if run.is_save_due:
            run.save()
    run.save()
    return run.outcome()


class _Run:
    """One run between its first step and its last: model, optimisers, clock and the best weights so far."""

    def __init__(
        self, settings: RunSettings, model: nn.Module, material: Material, ranks: Ranks, report: Report
    ) -> None:
        self._settings, self._model, self._material = settings, model, material
        self._ranks, self._report = ranks, report
        self._optimizers = make_optimizers(model, weight_decay=settings.weight_decay, kind=settings.optimizer)
        self._fingerprint = fingerprint(settings.model_dump(exclude=_NOT_IN_FINGERPRINT))
        progress = restore_checkpoint(
            self._checkpoint, model=model, optimizers=self._optimizers, run=self._fingerprint
        )
        if progress:
            report(f"resuming at step {progress.step:,}")
        self.clock = Clock(Length(settings.steps, settings.minutes), progress or Progress())
        self.loss = 0.0
        self._saved_at = self.clock.progress.seconds

    @property
    def _checkpoint(self) -> Path:
        return self._settings.output_dir / "checkpoint"

    @property
    def _best_weights(self) -> Path:
        return self._settings.output_dir / "best.safetensors"

    @property
    def is_over(self) -> bool:
        patience = self._settings.patience
        return self.clock.is_over or (patience is not None and self.clock.progress.waited >= patience)

    @property
    def is_save_due(self) -> bool:
        return self.clock.progress.seconds - self._saved_at > 60 * self._settings.checkpoint_minutes

    def step(self) -> None:
        """One optimiser step over `accumulation` parts, all of them shared among the ranks."""
        settings, step = self._settings, self.clock.progress.step
        torch.manual_seed(settings.seed + step)  # a resumed run meets the dropout that an unbroken one would
        parts = [self._material.backward(step, part) for part in range(settings.accumulation)]
        self._ranks.sum_gradients(self._model)
        step_optimizers(
            self._optimizers, self._model, peak=settings.learning_rate, share_done=self.clock.share_done
        )
        self.clock.advance(sum(tokens for _, tokens in parts), agree=self._ranks.agree)
        loss = sum(loss for loss, _ in parts) / len(parts)
        self.loss = 0.95 * self.loss + 0.05 * loss if self.loss else loss

    def validate(self) -> None:
        """Report the held-out losses; with patience, keep the weights if they are the best so far."""
        losses = self._material.heldout_losses()
        self._report(loss_line(losses))
        if self._settings.patience is None or not losses:
            return
        mean, progress = self._mean(losses), self.clock.progress
        if mean < progress.best_loss:
            self.clock.progress = replace(progress, best_loss=mean, waited=0)
            if self._ranks.is_first:
                with whole(self._best_weights, "The best weights") as fresh:
                    save_file(_weights(self._model), fresh)
        else:
            self.clock.progress = replace(progress, waited=progress.waited + 1)

    def save(self) -> None:
        """Write a checkpoint; only the first rank does."""
        self._saved_at = self.clock.progress.seconds
        if self._ranks.is_first:
            save_checkpoint(
                self._checkpoint,
                model=self._model,
                optimizers=self._optimizers,
                progress=self.clock.progress,
                run=self._fingerprint,
            )
        self._ranks.wait()

    def outcome(self) -> Outcome:
        """Put the best weights into the model if patience kept some, and measure what it ends with."""
        losses = self._material.heldout_losses()
        best = self.clock.progress.best_loss
        if math.isfinite(best) and best < self._mean(losses):
            kept = load_file(self._best_weights)
            self._model.load_state_dict(kept, strict=False)  # tied matrices are stored once
            losses = self._material.heldout_losses()
            self._report("the best weights of the run are kept")
        self._report(loss_line(losses))
        return Outcome(self.clock.progress, losses)

    def _mean(self, losses: Mapping[str, float]) -> float:
        """The mean over the sources, the first rank's on every rank: all must end at the same step."""
        return self._ranks.agree(sum(losses.values()) / len(losses))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.named_parameters()}


def silent(_: str) -> None:
    """The report of a rank that is not the first."""
