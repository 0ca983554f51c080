"""The loop of pretraining and fine-tuning: patience, accumulation, time left, and a run resumed at any point."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.training.disk import fill
from training.checkpoint import CheckpointWriteError
from training.learning_run import Outcome, learn
from training.learning_settings import RunSettings
from training.ranks import Ranks
from training.whole_files import UnwrittenError

ALONE = Ranks(0, 1, "cpu")


class Chase:
    """Two numbers learn to be 3; what is held out would have them be 1, and then they go on and are worse."""

    def __init__(self, model: nn.Linear, *, heldout_goal: float = 1.0) -> None:
        self._model, self._heldout_goal = model, heldout_goal

    def backward(self, step: int, part: int) -> tuple[float, int]:
        loss = (self._model.weight - 3).square().mean()
        torch.autograd.backward(loss)
        return loss.item(), 10

    @torch.no_grad()
    def heldout_losses(self) -> Mapping[str, float]:
        return {"numbers": (self._model.weight - self._heldout_goal).square().mean().item()}


def numbers(size: int = 2) -> nn.Linear:
    model = nn.Linear(size, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def settings(folder: Path, **changes: object) -> RunSettings:
    values = {"output_dir": folder, "steps": 100, "learning_rate": 0.1, "validate_steps": 5, **changes}
    return RunSettings.model_validate(values)


def run(folder: Path, model: nn.Linear, **changes: object) -> Outcome:
    return learn(settings(folder, **changes), model, Chase(model), ALONE, lambda _: None)


def test_without_patience_a_run_goes_on_to_its_end(tmp_path: Path) -> None:
    model = numbers()
    assert run(tmp_path, model).progress.step == 100
    assert model.weight.tolist() == [[pytest.approx(3, abs=0.2), pytest.approx(3, abs=0.2)]]


def test_patience_ends_a_run_and_gives_the_best_weights(tmp_path: Path) -> None:
    model = numbers()
    outcome = run(tmp_path, model, patience=3)
    # A step moves the numbers by 0.1 at most: after 10 steps they are near 1, after 15, 20 and 25 further away.
    assert outcome.progress.step == 25
    assert outcome.progress.waited == 3
    assert model.weight.mean().item() == pytest.approx(1, abs=0.2)
    assert outcome.heldout_loss["numbers"] == outcome.progress.best_loss < 0.04


def test_patience_does_not_end_a_run_that_goes_on_learning(tmp_path: Path) -> None:
    model = numbers()
    chase = Chase(model, heldout_goal=3)
    outcome = learn(settings(tmp_path, steps=30, patience=1), model, chase, ALONE, lambda _: None)
    assert outcome.progress.step == 30


def test_a_run_says_how_much_time_is_left(tmp_path: Path) -> None:
    lines: list[str] = []
    model = numbers()
    learn(settings(tmp_path, steps=50), model, Chase(model), ALONE, lines.append)
    progress = [line for line in lines if line.startswith("step")]
    assert len(progress) == 2
    assert all("tokens/s" in line and "elapsed 0:0" in line and "left 0:0" in line for line in progress)


class Interrupted(Exception):
    pass


class ChaseUntil(Chase):
    """Is interrupted once at a step."""

    def __init__(self, model: nn.Linear, step: int) -> None:
        super().__init__(model)
        self._last = step

    def backward(self, step: int, part: int) -> tuple[float, int]:
        if step == self._last:
            raise Interrupted
        return super().backward(step, part)


@pytest.mark.parametrize("changes", [{}, {"optimizer": "muon"}, {"patience": 3}, {"accumulation": 2}])
@pytest.mark.parametrize("step", [8, 17])
def test_a_resumed_run_ends_like_an_unbroken_one(
    tmp_path: Path, changes: dict[str, object], step: int
) -> None:
    often = {"checkpoint_minutes": 1e-9, "steps": 30, **changes}
    unbroken = numbers()
    expected = run(tmp_path / "unbroken", unbroken, **often)
    broken = numbers()
    with pytest.raises(Interrupted):
        learn(settings(tmp_path / "broken", **often), broken, ChaseUntil(broken, step), ALONE, lambda _: None)
    resumed = numbers()
    lines: list[str] = []
    outcome = learn(settings(tmp_path / "broken", **often), resumed, Chase(resumed), ALONE, lines.append)
    assert lines[0] == f"resuming at step {step}"
    assert torch.equal(resumed.weight, unbroken.weight)
    assert outcome.heldout_loss == expected.heldout_loss
    assert outcome.progress.step == expected.progress.step


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    class SecondOfTwo(Ranks):
        """Computes alone, as if another rank did the writing."""

        def sum_gradients(self, model: nn.Module) -> None: ...
        def wait(self) -> None: ...
        def agree(self, value: float) -> float:
            return value

    model = numbers()
    learn(settings(tmp_path, steps=10), model, Chase(model), SecondOfTwo(1, 2, "cpu"), lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_a_run_and_leaves_its_checkpoint(disk: Path) -> None:
    model = numbers(4096)  # 16 KiB, and twice as much again for the optimiser's moments
    run(disk / "run", model, steps=2)
    fill(disk, leave=32_768)
    with pytest.raises(CheckpointWriteError, match=r"Free some space .* goes on from the checkpoint before"):
        run(disk / "run", model, steps=4)
    (disk / "filler").unlink()
    lines: list[str] = []
    resumed = numbers(4096)
    outcome = learn(settings(disk / "run", steps=4), resumed, Chase(resumed), ALONE, lines.append)
    assert lines[0] == "resuming at step 2"
    assert outcome.progress.step == 4


def test_best_weights_that_find_no_room_are_told_and_the_ones_before_stay(disk: Path) -> None:
    best = disk / "run" / "best.safetensors"
    model = numbers(4096)
    run(disk / "run", model, steps=5, patience=9)
    before: dict[str, Tensor] = load_file(best)
    fill(disk, leave=8192)
    with pytest.raises(UnwrittenError, match=r"The best weights cannot be written"):
        run(disk / "run", model, steps=10, patience=9)
    assert torch.equal(load_file(best)["weight"], before["weight"])
