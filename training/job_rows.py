"""The moves of a job's row: queued, held, given back, ended. The caller owns the transaction."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.tables import Job, User, utc_now
from training.errors import JobAlreadyActive, JobNotFound, StaleLease
from training.job_reports import add_events
from training.job_values import ACTIVE, JobState, NewEvent

LINE = "default"

RELEASED = "The worker was stopped; the next one goes on from the last checkpoint."
WORKER_GONE = "The worker that ran the job is gone."


def add_job(
    *,
    session: Session,
    kind: str,
    config: dict[str, Any],
    requested_by_id: int | None,
    max_attempts: int = 3,
    snapshot_id: Callable[[], int | None] = lambda: None,
) -> Job:
    """Queue a job. Raises JobAlreadyActive, also when another request wins the race for the line's one place.

    `snapshot_id` is called once the place is taken, so that only the winner of a race freezes a snapshot.
    """
    refuse_while_active(session=session)
    job = Job(kind=kind, line=LINE, config=config, requested_by_id=requested_by_id, max_attempts=max_attempts)
    try:
        with session.begin_nested():
            session.add(job)
    except IntegrityError:
        refuse_while_active(session=session)
        raise
    job.snapshot_id = snapshot_id()
    session.flush()
    return job


def refuse_while_active(*, session: Session) -> None:
    """Raise JobAlreadyActive if the line has a queued or running job."""
    query = select(Job, User.name).outerjoin(User, User.id == Job.requested_by_id)
    row = session.execute(query.where(Job.line == LINE, Job.state.in_(ACTIVE))).first()
    if row is not None:
        job, name = row
        raise JobAlreadyActive(
            job_id=job.id,
            state=job.state,
            asked_by=name or "the schedule",
            asked_at=job.created_at,
            progress=job.progress,
        )


def locked_job(*, session: Session, job_id: int) -> Job:
    """Lock a job's row until the transaction ends. Raises JobNotFound."""
    job = session.get(Job, job_id, with_for_update=True, populate_existing=True)
    if job is None:
        raise JobNotFound(job_id)
    return job


def held_job(*, session: Session, job_id: int, fencing_token: int) -> Job:
    """Lock the row of a running job for its holder. Raises StaleLease for an old token, JobNotFound."""
    job = locked_job(session=session, job_id=job_id)
    if job.state != "running" or job.fencing_token != fencing_token:
        raise StaleLease(
            job_id=job_id, fencing_token=fencing_token, current=job.fencing_token, state=job.state
        )
    return job


def close_job(*, session: Session, job: Job, state: JobState, error: str | None = None) -> None:
    """End a job for good, with a line in its log when there is an error to tell."""
    job.state = state
    job.error = error
    job.finished_at = utc_now()
    if state == "succeeded":
        job.progress = 1.0
    if state == "cancelled":
        add_events(session=session, job=job, events=[NewEvent("info", "Cancelled.")])
    if error is not None:
        add_events(session=session, job=job, events=[NewEvent("error", error)])
    _let_go(job)


def end_attempt(*, session: Session, job: Job, reason: str) -> JobState:
    """Queue a job again whose process or worker is gone; after the last attempt, or a cancel, end it."""
    if job.cancel_requested:
        close_job(session=session, job=job, state="cancelled")
        return "cancelled"
    if job.attempt >= job.max_attempts:
        close_job(session=session, job=job, state="failed", error=_out_of_attempts(job, reason))
        return "failed"
    text = f"{reason} Attempt {job.attempt + 1} of {job.max_attempts} goes on from the last checkpoint."
    add_events(session=session, job=job, events=[NewEvent("warning", text)])
    requeue(job=job)
    return "queued"


def requeue(*, job: Job) -> None:
    """Let the next worker have the job."""
    job.state = "queued"
    _let_go(job)


def _let_go(job: Job) -> None:
    job.lease_owner = None
    job.lease_until = None
    job.process_group = None


def _out_of_attempts(job: Job, reason: str) -> str:
    where = f' in phase "{job.phase}"' if job.phase else ""
    return (
        f"{reason} It was attempt {job.attempt} of {job.max_attempts}{where}, so the job was given up. "
        f"The served version is unchanged. The whole output is in log.txt of the job's folder, {job.folder}; "
        "when the cause is gone, start a new retraining."
    )
