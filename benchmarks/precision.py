"""Loads a model in the numbers that serving uses, and for a baseline in those that the baseline is faster with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from training.loading import LoadedModel, load_language_model
from training.numerics import probe_numerics

PRECISIONS = (torch.float32, torch.bfloat16)


def load_as_served(folder: Path) -> LoadedModel:
    """Load as `rapport serve` does: on the device and in the precision that are fastest here."""
    numerics = probe_numerics(compile_model=False)
    return load_language_model(folder, dtype=numerics.weights_dtype, device=numerics.device)


def load_fastest(folder: Path, device: torch.device, seconds: Callable[[LoadedModel], float]) -> LoadedModel:
    """Load in each precision, take `seconds` of each three times in turn (the first warms up), keep the faster."""
    candidates = [load_language_model(folder, dtype=dtype, device=str(device)) for dtype in PRECISIONS]
    taken: list[list[float]] = [[] for _ in candidates]
    for _ in range(3):
        for place, candidate in enumerate(candidates):
            taken[place].append(seconds(candidate))
    best = [min(times[1:]) for times in taken]
    return candidates[best.index(min(best))]


def precision_of(loaded: LoadedModel) -> str:
    """The name of the weights' type, for instance "bfloat16"."""
    return str(loaded.model.dtype).removeprefix("torch.")
