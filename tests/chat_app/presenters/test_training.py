"""What the training page shows of the loop and of a job."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat_app.presenters.curves import curve_cards, number_text
from chat_app.presenters.time import duration_text
from chat_app.presenters.training import (
    history_lines,
    job_card,
    log_lines,
    sample_cards,
    status_card,
    timing_text,
)
from chat_app.services.retraining import RetrainingStatus
from chat_app.words import EN
from training.job_values import JobEventLine, JobInfo, MetricPoint

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(**facts: Any) -> JobInfo:
    values: dict[str, Any] = {
        "id": 4,
        "kind": "retrain",
        "state": "running",
        "attempt": 1,
        "max_attempts": 3,
        "requested_by_id": 1,
        "requested_by": "you",
        "snapshot_id": 1,
        "config": {},
        "phase": "PPO",
        "progress": 0.25,
        "cancel_requested": False,
        "result": {},
        "error": None,
        "created_at": START,
        "started_at": START,
        "finished_at": None,
    }
    return JobInfo(**{**values, **facts})


def event(event_id: int, kind: str, text: str, **data: Any) -> JobEventLine:
    return JobEventLine(event_id, kind, text, data, START)  # type: ignore[arg-type]


def status(**facts: Any) -> RetrainingStatus:
    values = {"new_comparisons": 3, "all_comparisons": 12, "needed": 20, "active": None, "retrain_every": 0}
    return RetrainingStatus(**{**values, **facts})


def test_the_status_says_what_is_missing() -> None:
    card = status_card(status(), "sft", EN)
    assert [tile.value for tile in card.tiles] == ["12", "3", "20", "sft"]
    assert card.hint == "8 more votes are needed to start. Switch on “Compare” in the chat."
    assert card.schedule == ""


def test_the_status_says_when_training_can_start_and_that_it_starts_by_itself() -> None:
    card = status_card(status(all_comparisons=20, retrain_every=50), "sft", EN)
    assert (card.hint, card.schedule) == (
        "Ready to start.",
        "Retrains by itself after every 50 new votes.",
    )
    assert status_card(status(active=job()), "sft", EN).hint.startswith("Retraining 4 is under way.")


def test_a_running_job_shows_its_step_and_the_time_left() -> None:
    card = job_card(job(), START + timedelta(seconds=60), EN, may_train=True)
    assert [step.state for step in card.steps] == ["done", "done", "current", "coming", "coming"]
    assert (card.percent, card.timing) == (25, "60 s so far · about 3 min left")
    assert card.can_cancel


@pytest.mark.parametrize("phase", ["", "loading", "reward model"])
def test_a_job_begins_with_its_votes_frozen(phase: str) -> None:
    card = job_card(job(phase=phase, progress=0.0), START, EN, may_train=True)
    assert [step.state for step in card.steps][:3] == ["done", "current", "coming"]
    assert card.timing == "0 s so far"


def test_a_job_that_promoted_nothing_skipped_that_step() -> None:
    ended = job(state="succeeded", finished_at=START + timedelta(minutes=4), result={"is_promoted": False})
    card = job_card(ended, START, EN, may_train=True)
    assert [step.state for step in card.steps] == ["done", "done", "done", "done", "skipped"]
    assert (card.percent, card.timing, card.can_cancel) == (100, "4 min", False)
    promoted = job_card(job(state="succeeded", result={"is_promoted": True}), START, EN, may_train=True)
    assert promoted.steps[-1].state == "done"


def test_a_failed_job_shows_where_and_why() -> None:
    card = job_card(job(state="failed", phase="gate", error="It broke."), START, EN, may_train=True)
    assert [step.state for step in card.steps] == ["done", "done", "done", "failed", "coming"]
    assert card.error == "It broke."


def test_who_may_not_train_may_not_cancel() -> None:
    assert not job_card(job(), START, EN, may_train=False).can_cancel
    cancelling = job_card(job(cancel_requested=True), START, EN, may_train=True)
    assert not cancelling.can_cancel
    assert cancelling.note == "Ending the job. This takes up to ten seconds."


def test_a_forecast_waits_until_it_means_something() -> None:
    assert timing_text(job(progress=0.01), START + timedelta(seconds=30), EN) == "30 s so far"


def test_samples_of_one_prompt_are_shown_first_and_newest() -> None:
    prompt = [{"role": "user", "content": "Hi"}]
    events = [
        event(1, "sample", "one", prompt=prompt, score=-0.5),
        event(2, "info", "a line"),
        event(3, "sample", "two", prompt=prompt, score=0.25),
        event(4, "sample", "three", prompt=prompt, score=1.0),
        event(5, "sample", "only once", prompt=[{"role": "user", "content": "Bye"}]),
    ]
    [card] = sample_cards(events, EN)
    assert (card.prompt, card.before, card.after) == ("Hi", "one", "three")
    assert (card.before_score, card.after_score) == ("score -0.50", "score 1.00")
    assert [line.text for line in log_lines(events)] == ["a line"]


def test_the_history_names_the_schedule_and_the_verdict() -> None:
    done = job(state="succeeded", requested_by_id=None, result={"verdict": "pass"})
    [line] = history_lines([done], 4, EN)
    assert (line.requested_by, line.verdict, line.is_shown) == ("the schedule", "Passed", True)


def points(name: str, *values: tuple[int, float]) -> list[MetricPoint]:
    return [MetricPoint(number, step, name, value) for number, (step, value) in enumerate(values)]


def test_a_curve_is_scaled_into_its_box() -> None:
    [card] = curve_cards(points("ppo/score", (1, 0.0), (2, 1.0), (3, 0.5)), EN)
    assert card.points == "4.0,60.0 120.0,4.0 236.0,32.0"
    assert (card.last, card.low, card.high, card.step) == ("0.5", "0", "1", "step 3")


def test_a_later_attempt_takes_the_place_of_the_old_numbers() -> None:
    [card] = curve_cards(points("ppo/kl", (1, 1.0), (2, 9.0), (2, 2.0)), EN)
    assert (card.last, card.high) == ("2", "2")


def test_one_number_and_a_level_curve_can_be_drawn() -> None:
    [card] = curve_cards(points("ppo/kl", (1, 1.0)), EN)
    assert card.points == "4.0,32.0 8.0,32.0"
    [card] = curve_cards(points("ppo/kl", (1, 1.0), (2, 1.0)), EN)
    assert card.points == "4.0,32.0 236.0,32.0"


def test_metrics_without_a_name_in_words_are_left_out() -> None:
    assert curve_cards(points("ppo/seconds", (1, 1.0)), EN) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("reward/accuracy", 0.8451, "85%"), ("ppo/kl", 3.14159, "3.14"), ("ppo/share_ended", 1.0, "100%")],
)
def test_shares_are_shown_in_per_cent(name: str, value: float, text: str) -> None:
    assert number_text(name, value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (59.6, "60 s"), (121, "2 min"), (7199, "120 min"), (7300, "2 h")]
)
def test_durations_are_rounded_to_what_matters(seconds: float, text: str) -> None:
    assert duration_text(seconds, EN) == text
