"""Keeps PPO's whole state between updates: adapters, heads, optimiser moments and the loop's few numbers.

Randomness needs no state: every draw has a generator made from (seed, purpose, update, episode).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.ppo.rollout import POLICY, VALUE
from training.ppo.update import Learner

_TENSORS, _LOOP = "state.safetensors", "loop.json"


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where the loop is: the next update, β, what the first rollouts looked like, and the last update's numbers."""

    update: int
    beta: float
    first_length: float
    first_entropy: float
    metrics: dict[str, float]


def save_checkpoint(folder: Path, learner: Learner, state: LoopState) -> None:
    """Write the state to `folder`, which is whole at every moment: the old one is kept until the new one is."""
    fresh, previous = _beside(folder, "writing"), _beside(folder, "previous")
    for leftover in (fresh, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(_tensors(learner), fresh / _TENSORS)
    (fresh / _LOOP).write_text(json.dumps(asdict(state)), encoding="utf-8")
    if folder.exists():
        folder.rename(previous)
    fresh.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def restore_checkpoint(folder: Path, learner: Learner) -> LoopState | None:
    """Load the newest whole checkpoint into the learner; None when there is none."""
    for candidate in (folder, _beside(folder, "previous")):
        try:
            state = LoopState(**json.loads((candidate / _LOOP).read_text(encoding="utf-8")))
            tensors = load_file(candidate / _TENSORS)
        except (OSError, ValueError, SafetensorError):
            continue  # absent, or cut off in writing: the one before is whole
        _load(tensors, learner)
        return state
    return None


def _tensors(learner: Learner) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for role in (POLICY, VALUE):
        tensors |= {f"{role}|{name}": value for name, value in learner.roles.state(role).items()}
    for index, moments in learner.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimizer|{index}|{name}"] = value.detach().cpu().clone()
    return tensors


def _load(tensors: dict[str, Tensor], learner: Learner) -> None:
    roles: dict[str, dict[str, Tensor]] = {POLICY: {}, VALUE: {}}
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition("|")
        if kind == "optimizer":
            index, _, moment = name.partition("|")
            moments.setdefault(int(index), {})[moment] = value
        else:
            roles[kind][name] = value
    for role, state in roles.items():
        learner.roles.load_state(role, state)
    learner.optimizer.load_state_dict({**learner.optimizer.state_dict(), "state": moments})


def _beside(folder: Path, word: str) -> Path:
    return folder.with_name(f"{folder.name}.{word}")
