"""The length of a run and its learning rate."""

import pytest

from training.checkpoint import Progress
from training.pace import Clock, Length, learning_rate


def test_the_learning_rate_warms_up_peaks_and_falls_along_a_cosine() -> None:
    assert learning_rate(1.0, 0.01) == pytest.approx(0.5)
    assert learning_rate(1.0, 0.02) == pytest.approx(1.0)
    assert learning_rate(1.0, 0.51) == pytest.approx(0.525)
    assert learning_rate(1.0, 1.0) == pytest.approx(0.05)


def test_a_run_of_steps_ends_after_exactly_so_many() -> None:
    clock = Clock(Length(steps=3, minutes=None), Progress())
    while not clock.is_over:
        clock.advance(10)
    assert (clock.progress.step, clock.progress.tokens) == (3, 30)


def test_a_run_of_minutes_counts_the_time_before_its_resume() -> None:
    assert Length(steps=None, minutes=2).share_done(Progress(step=9, seconds=90)) == 0.75
    assert Clock(Length(steps=None, minutes=2), Progress(step=9, seconds=121)).is_over


def test_a_line_of_progress_tells_step_loss_and_time_left() -> None:
    clock = Clock(Length(steps=4, minutes=None), Progress(step=1, seconds=60.0, tokens=100))
    line = clock.line(2.5)
    assert "step      1  loss 2.500" in line
    assert "elapsed 1:00  left 3:00" in line
