"""What the training page shows of the loop and of a job: its state, steps, log, samples, and past jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chat_app.presenters.time import duration_text
from chat_app.services.retraining import RetrainingStatus
from chat_app.words import Words
from training.job_values import JobEventLine, JobInfo

STEPS = ("snapshot", "reward model", "ppo", "gate", "promotion")
LOG_LINES = 200
SHORTEST_FORECAST = 0.05  # of the work done; before that an estimate says nothing


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with its name."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class StatusCard:
    """Where the loop stands; `hint` says whether training can start, or what is missing."""

    tiles: tuple[Tile, ...]
    hint: str
    schedule: str


@dataclass(frozen=True, slots=True)
class Step:
    """A stage of a retraining; `state` is "done", "current", "failed" or "coming"."""

    label: str
    state: str


@dataclass(frozen=True, slots=True)
class JobCard:
    """A retraining as it stands now."""

    id: int
    heading: str
    state: str
    state_label: str
    percent: int
    steps: tuple[Step, ...]
    timing: str
    note: str
    error: str
    can_cancel: bool


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a job's log."""

    moment: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class SampleCard:
    """The answers to one prompt at the first and at the newest step that showed it."""

    prompt: str
    before: str
    before_score: str
    after: str
    after_score: str


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A line of the list of retrainings."""

    id: int
    moment: datetime
    requested_by: str
    state: str
    state_label: str
    verdict: str
    took: str
    is_shown: bool


def status_card(status: RetrainingStatus, serving_name: str, words: Words) -> StatusCard:
    """Tell how many votes there are, how many are new, what is needed, and what answers now."""
    train = words.train
    every = status.retrain_every
    return StatusCard(
        tiles=(
            Tile(train.comparisons, str(status.all_comparisons)),
            Tile(train.new_comparisons, str(status.new_comparisons)),
            Tile(train.needed, str(status.needed)),
            Tile(train.serves_now, serving_name),
        ),
        hint=_hint(status, words),
        schedule=train.by_itself.format(count=every) if every else "",
    )


def _hint(status: RetrainingStatus, words: Words) -> str:
    if status.active is not None:
        return words.train.cannot_active.format(job=status.active.id)
    missing = status.needed - status.all_comparisons
    return words.train.cannot_too_few.format(missing=missing) if missing > 0 else words.train.can_start


def job_card(job: JobInfo, now: datetime, words: Words, *, may_train: bool) -> JobCard:
    """Show a job's state, its steps and how long it takes."""
    train = words.train
    return JobCard(
        id=job.id,
        heading=train.job.format(job=job.id),
        state=job.state,
        state_label=train.states[job.state],
        percent=100 if job.state == "succeeded" else min(99, int(job.progress * 100)),
        steps=_steps(job, words),
        timing=timing_text(job, now, words),
        note=_note(job, words),
        error=job.error or "",
        can_cancel=job.is_active and not job.cancel_requested and may_train,
    )


def _steps(job: JobInfo, words: Words) -> tuple[Step, ...]:
    phase = job.phase.lower()
    reached = STEPS.index(phase) if phase in STEPS else (0 if phase else -1)
    if job.state == "succeeded":
        reached = len(STEPS)
    here = {"running": "current", "failed": "failed", "cancelled": "failed"}.get(job.state, "coming")
    current = max(reached, 1)  # a job exists only with its votes frozen
    states = ["done" if i < current else here if i == current else "coming" for i in range(len(STEPS))]
    if job.state == "succeeded" and not job.result.get("is_promoted"):
        states[-1] = "skipped"
    return tuple(Step(words.train.phases[name], state) for name, state in zip(STEPS, states, strict=True))


def timing_text(job: JobInfo, now: datetime, words: Words) -> str:
    """Tell how long a job has run, and about how long it still takes once enough is done to tell."""
    if job.started_at is None:
        return ""
    if not job.is_active:
        return took_text(job, words)
    elapsed = (now - job.started_at).total_seconds()
    parts = [words.train.elapsed.format(time=duration_text(elapsed, words))]
    if job.progress >= SHORTEST_FORECAST:
        left = elapsed * (1 - job.progress) / job.progress
        parts.append(words.train.remaining.format(time=duration_text(left, words)))
    return " · ".join(parts)


def took_text(job: JobInfo, words: Words) -> str:
    """Tell how long a job that has ended took."""
    if job.started_at is None or job.finished_at is None:
        return ""
    return duration_text((job.finished_at - job.started_at).total_seconds(), words)


def _note(job: JobInfo, words: Words) -> str:
    if job.is_active and job.cancel_requested:
        return words.train.cancelling
    if job.state == "queued":
        return words.train.waiting_for_worker
    if job.is_active and job.phase == "loading":
        return words.train.loading
    if job.is_active and job.attempt > 1:
        return words.train.attempt.format(attempt=job.attempt, of=job.max_attempts)
    return ""


def log_lines(events: Sequence[JobEventLine]) -> list[LogLine]:
    """Return the newest lines of the log, oldest first, without the samples."""
    lines = [LogLine(event.created_at, event.kind, event.text) for event in events if event.kind != "sample"]
    return lines[-LOG_LINES:]


def sample_cards(events: Sequence[JobEventLine], words: Words) -> list[SampleCard]:
    """Put the first and the newest answer to each shown prompt beside each other."""
    shown: dict[str, list[JobEventLine]] = {}
    for event in events:
        if event.kind == "sample":
            shown.setdefault(_prompt_text(event.data), []).append(event)
    return [
        SampleCard(
            prompt=prompt,
            before=answers[0].text,
            before_score=_score_text(answers[0].data, words),
            after=answers[-1].text,
            after_score=_score_text(answers[-1].data, words),
        )
        for prompt, answers in shown.items()
        if len(answers) > 1
    ]


def _prompt_text(data: dict[str, Any]) -> str:
    messages = data.get("prompt") or [{}]
    return "\n".join(str(message.get("content", "")) for message in messages)


def _score_text(data: dict[str, Any], words: Words) -> str:
    score = data.get("score")
    return words.train.score.format(score=f"{score:.2f}") if isinstance(score, int | float) else ""


def history_lines(jobs: Sequence[JobInfo], shown_id: int | None, words: Words) -> list[HistoryLine]:
    """List the retrainings, the newest first."""
    return [
        HistoryLine(
            id=job.id,
            moment=job.created_at,
            requested_by=job.requested_by if job.requested_by_id is not None else words.train.schedule,
            state=job.state,
            state_label=words.train.states[job.state],
            verdict=words.train.verdicts.get(str(job.result.get("verdict", "")), ""),
            took=took_text(job, words),
            is_shown=job.id == shown_id,
        )
        for job in jobs
    ]
