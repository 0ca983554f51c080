"""What the rest of the house knows of a job: frozen values, made from its rows."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from db.tables import Job, JobEvent, Metric

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
EventKind = Literal["info", "warning", "error", "sample"]

ACTIVE = ("queued", "running")


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as people see it; `progress` is between 0 and 1, `error` a paragraph for a person."""

    id: int
    kind: str
    state: JobState
    attempt: int
    max_attempts: int
    requested_by_id: int | None
    requested_by: str
    snapshot_id: int | None
    config: dict[str, Any]
    phase: str
    progress: float
    cancel_requested: bool
    result: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_active(self) -> bool:
        """Waiting for a worker, or running."""
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A job in the hands of one worker: who shows the same fencing token may change it."""

    job_id: int
    kind: str
    attempt: int
    max_attempts: int
    fencing_token: int
    snapshot_id: int | None
    config: dict[str, Any]
    folder_name: str


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a stage needs to know of the job it works for; `folder` holds its checkpoints and artefacts."""

    job_id: int
    fencing_token: int
    folder: Path
    snapshot_id: int | None
    config: dict[str, Any]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the database answers to a sign of life."""

    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class ExpiredJob:
    """A job whose worker is gone, the token that this one held, and what became of the job."""

    job_id: int
    fencing_token: int
    state: JobState


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One number of a curve; ids only grow, so a follower asks for those after the last it has seen."""

    id: int
    step: int
    name: str
    value: float
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class JobEventLine:
    """A line of the log; of kind `sample`, what was written, with step, prompt and score in `data`."""

    id: int
    kind: EventKind
    text: str
    data: dict[str, Any]
    created_at: datetime
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class NewMetric:
    """A number that was reported and is not stored yet."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A line of the log that is not stored yet."""

    kind: EventKind
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What a job has to say since its last report, stored in one transaction; phase None: unchanged."""

    phase: str | None = None
    progress: float | None = None
    metrics: tuple[NewMetric, ...] = ()
    events: tuple[NewEvent, ...] = ()


def job_info(job: Job, requested_by: str | None) -> JobInfo:
    """Read a job's row; a job without a person was asked for by the schedule."""
    return JobInfo(
        id=job.id,
        kind=job.kind,
        state=cast(JobState, job.state),  # the table's check constraint holds it to these
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        requested_by_id=job.requested_by_id,
        requested_by=requested_by or "the schedule",
        snapshot_id=job.snapshot_id,
        config=dict(job.config),
        phase=job.phase,
        progress=job.progress,
        cancel_requested=job.cancel_requested,
        result=dict(job.result),
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def claimed_job(job: Job) -> ClaimedJob:
    """Read a running job's row as its holder sees it."""
    return ClaimedJob(
        job_id=job.id,
        kind=job.kind,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        fencing_token=job.fencing_token,
        snapshot_id=job.snapshot_id,
        config=dict(job.config),
        folder_name=job.folder or f"job-{job.id}",
    )


def metric_point(metric: Metric) -> MetricPoint:
    """Read a metric's row."""
    return MetricPoint(metric.id, metric.step, metric.name, metric.value, metric.attempt)


def event_line(event: JobEvent) -> JobEventLine:
    """Read an event's row."""
    return JobEventLine(
        id=event.id,
        kind=cast(EventKind, event.kind),
        text=event.text,
        data=dict(event.data),
        created_at=event.created_at,
        attempt=event.attempt,
    )
