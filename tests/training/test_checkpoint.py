"""Checkpoints: exact restoring, the one before when the newest is cut off, and no mixing of runs."""

import resource
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from training.checkpoint import (
    CheckpointMismatchError,
    CheckpointWriteError,
    Progress,
    fingerprint,
    restore_checkpoint,
    save_checkpoint,
)
from training.language_modelling import make_optimizers, step_optimizers


def trained(steps: int) -> tuple[nn.Linear, list[torch.optim.Optimizer]]:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizers = make_optimizers(model, weight_decay=0.1)
    more_steps(model, optimizers, range(steps))
    return model, optimizers


def more_steps(model: nn.Module, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
    for step in steps:
        inputs = torch.full((2, 4), float(step + 1))
        torch.autograd.backward(model(inputs).square().mean())
        step_optimizers(optimizers, model, peak=0.1, share_done=0.3)


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    model, optimizers = trained(3)
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(3, 1.5, 30), run="a")
    resumed, fresh_optimizers = trained(0)
    progress = restore_checkpoint(folder, model=resumed, optimizers=fresh_optimizers, run="a")
    more_steps(resumed, fresh_optimizers, range(3, 6))
    assert progress == Progress(3, 1.5, 30)
    assert torch.equal(resumed.weight, trained(6)[0].weight)


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_checkpoint_cut_off_in_writing_yields_the_one_before(tmp_path: Path, name: str) -> None:
    model, optimizers = trained(1)
    folder = tmp_path / "checkpoint"
    for step in (1, 2):
        save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(step), run="a")
    newest = folder / name
    newest.write_bytes(newest.read_bytes()[:-10])
    assert restore_checkpoint(folder, model=model, optimizers=optimizers, run="a") == Progress(1)


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    model, optimizers = trained(1)
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(1), run="a")
    folder.rename(tmp_path / "checkpoint.previous")
    assert restore_checkpoint(folder, model=model, optimizers=optimizers, run="a") == Progress(1)


def test_no_checkpoint_means_a_fresh_start(tmp_path: Path) -> None:
    model, optimizers = trained(0)
    assert restore_checkpoint(tmp_path / "none", model=model, optimizers=optimizers, run="a") is None


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    model, optimizers = trained(1)
    folder = tmp_path / "checkpoint"
    save_checkpoint(
        folder, model=model, optimizers=optimizers, progress=Progress(1), run=fingerprint({"seed": 0})
    )
    with pytest.raises(CheckpointMismatchError, match="another output folder"):
        restore_checkpoint(folder, model=model, optimizers=optimizers, run=fingerprint({"seed": 1}))


def test_both_checkpoints_cut_off_mean_a_fresh_start(tmp_path: Path) -> None:
    model, optimizers = trained(1)
    folder = tmp_path / "checkpoint"
    for step in (1, 2):
        save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(step), run="a")
    for path in tmp_path.glob("checkpoint*/state.safetensors"):
        path.write_bytes(path.read_bytes()[:-10])
    assert restore_checkpoint(folder, model=model, optimizers=optimizers, run="a") is None


def test_two_optimisers_and_the_best_loss_come_back(tmp_path: Path) -> None:
    def parts() -> tuple[nn.Sequential, list[torch.optim.Optimizer]]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
        return model, make_optimizers(model, weight_decay=0.1, kind="muon")

    def learn(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> None:
        torch.autograd.backward(model(torch.arange(5)).square().mean())
        step_optimizers(optimizers, model, peak=0.1, share_done=0.3)

    model, optimizers = parts()
    learn(model, optimizers)
    progress = Progress(1, best_loss=2.5, waited=3)
    save_checkpoint(tmp_path / "here", model=model, optimizers=optimizers, progress=progress, run="a")
    resumed, fresh = parts()
    assert restore_checkpoint(tmp_path / "here", model=resumed, optimizers=fresh, run="a") == progress
    learn(model, optimizers)
    learn(resumed, fresh)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, resumed.get_parameter(name)), name


def test_a_full_disk_is_reported_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    model, optimizers = trained(1)
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(1), run="a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk: the file cannot grow
    try:
        with pytest.raises(CheckpointWriteError, match="Free some space"):
            save_checkpoint(folder, model=model, optimizers=optimizers, progress=Progress(2), run="a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert restore_checkpoint(folder, model=model, optimizers=optimizers, run="a") == Progress(1)
