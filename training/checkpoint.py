"""Writes training checkpoints that survive a crash in mid-write, and reads the newest whole one back.

A checkpoint is a folder with `state.safetensors` (weights and optimiser moments) and `state.json`. The new
one is written beside the old and renamed into place, and the one before is kept, so one is always whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.errors import TrainingError

_WEIGHTS, _STATE = "state.safetensors", "state.json"


class CheckpointWriteError(TrainingError):
    """A checkpoint that could not be written; the one before is untouched."""

    code = "checkpoint_write"


class CheckpointMismatchError(TrainingError):
    """A checkpoint that belongs to a run with other settings."""

    code = "checkpoint_mismatch"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: optimiser steps, seconds spent training, tokens seen.

    `best_loss` is the lowest held-out loss so far where a run looks for it, `waited` the validations since then.
    """

    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    best_loss: float = math.inf
    waited: int = 0


def fingerprint(values: Mapping[str, Any]) -> str:
    """A short name for everything that must be equal for a run to be resumed."""
    canonical = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
    run: str,
) -> None:
    """Write model, optimisers and progress to `folder`; `run` is the fingerprint that a resume must match.

    Raises CheckpointWriteError when the disk is full or read-only; the checkpoint before stays whole.
    """
    fresh, previous = _beside(folder, "writing"), _beside(folder, "previous")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        save_file(_tensors(model, optimizers), fresh / _WEIGHTS)
        (fresh / _STATE).write_text(json.dumps({"run": run, **asdict(progress)}), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise CheckpointWriteError(
            f"The checkpoint in {folder} cannot be written ({error}). Free some space or make the folder "
            "writable, then start the run again: it goes on from the checkpoint before."
        ) from error
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    fresh.rename(folder)


def restore_checkpoint(
    folder: Path, *, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], run: str
) -> Progress | None:
    """Load the newest whole checkpoint into model and optimisers; None when there is none.

    Raises CheckpointMismatchError when it was written by a run with another fingerprint.
    """
    for candidate in (folder, _beside(folder, "previous")):
        try:
            state = json.loads((candidate / _STATE).read_text(encoding="utf-8"))
            tensors = load_file(candidate / _WEIGHTS)
        except (OSError, ValueError, SafetensorError):
            continue  # absent or cut off in writing: the one before is whole
        if state.pop("run") != run:
            raise CheckpointMismatchError(
                f"The checkpoint in {candidate} belongs to a run with other settings or data. "
                "Use the settings it was started with, or another output folder."
            )
        _load(tensors, model, optimizers)
        return Progress(**state)
    return None


def _beside(folder: Path, word: str) -> Path:
    return folder.with_name(f"{folder.name}.{word}")


def _tensors(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value.detach().cpu() for name, value in model.named_parameters()}
    for place, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimizer{place}.{index}.{name}"] = value.detach().cpu().contiguous()
    return tensors


def _load(tensors: dict[str, Tensor], model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    parameters = dict(model.named_parameters())
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    with torch.no_grad():
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "model":
                parameters[rest].copy_(value)
            else:
                index, _, name = rest.partition(".")
                states[int(kind.removeprefix("optimizer"))].setdefault(int(index), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
