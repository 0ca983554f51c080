"""The life of a job in the database: asked for, claimed under a lease, reported on, ended or taken over.

A claim gives a fencing token, one higher than the claim before. Whoever holds the newest token may change
the job; everyone else is told `StaleLease` and changes nothing. The worker renews the lease; a lease that
has run out is given to the next worker, which goes on from the last checkpoint. Leases compare the clocks
of the machines that run workers, so these must agree within a few seconds.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Database
from db.tables import AuditEvent, Job, User, utc_now
from training.errors import JobNotActive, JobNotFound
from training.job_reports import add_events, events_since, metrics_since, store_report
from training.job_rows import (
    LINE,
    RELEASED,
    WORKER_GONE,
    add_job,
    close_job,
    end_attempt,
    held_job,
    locked_job,
    requeue,
)
from training.job_values import (
    ACTIVE,
    ClaimedJob,
    ExpiredJob,
    Heartbeat,
    JobContext,
    JobEventLine,
    JobInfo,
    JobState,
    MetricPoint,
    NewEvent,
    Report,
    claimed_job,
    job_info,
)
from training.plain_json import plain_json

__all__ = [
    "ClaimedJob",
    "Heartbeat",
    "JobContext",
    "JobEventLine",
    "JobInfo",
    "JobState",
    "Jobs",
    "MetricPoint",
]


class Jobs:
    """The jobs of one database, each method a short transaction; a claim lasts `lease_seconds`."""

    def __init__(self, database: Database, *, lease_seconds: float = 30.0) -> None:
        self.database = database
        self.lease_seconds = lease_seconds

    def request(
        self,
        *,
        kind: str = "retrain",
        config: dict[str, Any],
        requested_by_id: int | None,
        snapshot_id: int | None,
        max_attempts: int = 3,
    ) -> int:
        """Queue a job and return its id. Raises JobAlreadyActive, which names the job that is active."""
        with self.database.write() as session:
            return add_job(
                session=session,
                kind=kind,
                config=config,
                requested_by_id=requested_by_id,
                snapshot_id=lambda: snapshot_id,
                max_attempts=max_attempts,
            ).id

    def claim(self, owner: str) -> ClaimedJob | None:
        """Take the oldest queued job under a lease, as its next attempt; None when nothing waits.

        SQLite's write lock, or SKIP LOCKED on PostgreSQL, gives each job to one worker only.
        """
        query = select(Job).where(Job.state == "queued").order_by(Job.id).limit(1)
        with self.database.read() as session:  # most looks find nothing, and need no write lock for that
            if session.scalars(query).first() is None:
                return None
        with self.database.write() as session:
            job = session.scalars(query.with_for_update(skip_locked=True)).first()
            if job is None:
                return None
            job.state = "running"
            job.attempt += 1
            job.fencing_token += 1
            job.lease_owner = owner
            job.folder = f"job-{job.id}"
            job.started_at = job.started_at or utc_now()
            self._renew(job)
            return claimed_job(job)

    def claimed(self, job_id: int, fencing_token: int) -> ClaimedJob:
        """The job as its holder sees it. Raises StaleLease."""
        with self.database.write() as session:
            return claimed_job(held_job(session=session, job_id=job_id, fencing_token=fencing_token))

    def heartbeat(self, claimed: ClaimedJob) -> Heartbeat:
        """Renew the lease and hear whether the job shall stop. Raises StaleLease."""
        with self.database.write() as session:
            job = _held(session, claimed)
            self._renew(job)
            return Heartbeat(cancel_requested=job.cancel_requested)

    def must_stop(self, claimed: ClaimedJob) -> bool:
        """Whether a cancel was asked for or the lease is lost; it only reads, so it may be asked often."""
        with self.database.read() as session:
            job = session.get(Job, claimed.job_id)
            return job is None or job.cancel_requested or job.fencing_token != claimed.fencing_token

    def note_process(self, claimed: ClaimedJob, process_group: int) -> None:
        """Remember the process group that does the work. Raises StaleLease."""
        with self.database.write() as session:
            _held(session, claimed).process_group = process_group

    def record(self, claimed: ClaimedJob, report: Report) -> Heartbeat:
        """Store what a job reports, in one transaction. Raises StaleLease and stores nothing then."""
        with self.database.write() as session:
            job = _held(session, claimed)
            store_report(session=session, job=job, report=report)
            return Heartbeat(cancel_requested=job.cancel_requested)

    def finish(
        self,
        claimed: ClaimedJob,
        state: Literal["succeeded", "failed", "cancelled"],
        *,
        result: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """End the job for good. Raises StaleLease."""
        with self.database.write() as session:
            job = _held(session, claimed)
            job.result = plain_json(result or {})
            close_job(session=session, job=job, state=state, error=error)

    def end_attempt(self, claimed: ClaimedJob, reason: str) -> JobState:
        """Say that the process is gone without an end; return what becomes of the job. Raises StaleLease."""
        with self.database.write() as session:
            return end_attempt(session=session, job=_held(session, claimed), reason=reason)

    def release(self, claimed: ClaimedJob) -> None:
        """Give an unharmed job back, as a worker does that shuts down: the attempt does not count."""
        with self.database.write() as session:
            job = _held(session, claimed)
            if job.cancel_requested:
                close_job(session=session, job=job, state="cancelled")
                return
            add_events(session=session, job=job, events=[NewEvent("info", RELEASED)])
            job.max_attempts += 1  # and not attempt - 1: metrics of an attempt are told apart by its number
            requeue(job=job)

    def request_cancel(self, job_id: int, *, by_user_id: int | None = None) -> JobInfo:
        """Ask a job to end: at once while it waits, else within ten seconds.

        Raises JobNotFound, JobNotActive.
        """
        with self.database.write() as session:
            job = locked_job(session=session, job_id=job_id)
            if job.state not in ACTIVE:
                raise JobNotActive(job_id=job_id, state=job.state)
            if not job.cancel_requested:
                job.cancel_requested = True
                session.add(AuditEvent(user_id=by_user_id, action="cancel job", subject=f"job {job_id}"))
            if job.state == "queued":
                close_job(session=session, job=job, state="cancelled")
        return self.get(job_id)

    def recover_expired(self, is_gone: Callable[[str], bool] = lambda _owner: False) -> list[ExpiredJob]:
        """Requeue, or fail after the last attempt, the jobs whose lease ran out or whose worker `is_gone`."""
        running = select(Job).where(Job.state == "running")
        with self.database.read() as session:
            if not any(_is_abandoned(job, is_gone) for job in session.scalars(running)):
                return []
        with self.database.write() as session:
            jobs = session.scalars(running.with_for_update(skip_locked=True)).all()
            return [
                ExpiredJob(
                    job_id=job.id,
                    fencing_token=job.fencing_token,
                    state=end_attempt(session=session, job=job, reason=WORKER_GONE),
                )
                for job in jobs
                if _is_abandoned(job, is_gone)
            ]

    def get(self, job_id: int) -> JobInfo:
        """The job as people see it. Raises JobNotFound."""
        with self.database.read() as session:
            job = session.get(Job, job_id)
            if job is None:
                raise JobNotFound(job_id)
            asker = session.get(User, job.requested_by_id) if job.requested_by_id is not None else None
            return job_info(job, asker.name if asker else None)

    def active(self) -> JobInfo | None:
        """The job that waits or runs, if any."""
        with self.database.read() as session:
            job = session.scalars(select(Job).where(Job.line == LINE, Job.state.in_(ACTIVE))).first()
        return None if job is None else self.get(job.id)

    def metrics(self, job_id: int, since_id: int = 0) -> list[MetricPoint]:
        """The points of the job's curves stored after `since_id`."""
        with self.database.read() as session:
            return metrics_since(session=session, job_id=job_id, since_id=since_id)

    def events(self, job_id: int, since_id: int = 0) -> list[JobEventLine]:
        """The lines of the job's log stored after `since_id`."""
        with self.database.read() as session:
            return events_since(session=session, job_id=job_id, since_id=since_id)

    def list(self, limit: int = 20) -> list[JobInfo]:
        """The newest jobs first."""
        query = select(Job, User.name).outerjoin(User, User.id == Job.requested_by_id)
        with self.database.read() as session:
            rows = session.execute(query.order_by(Job.id.desc()).limit(limit)).all()
            return [job_info(job, name) for job, name in rows]

    def _renew(self, job: Job) -> None:
        job.heartbeat_at = utc_now()
        job.lease_until = job.heartbeat_at + timedelta(seconds=self.lease_seconds)


def _held(session: Session, claimed: ClaimedJob) -> Job:
    return held_job(session=session, job_id=claimed.job_id, fencing_token=claimed.fencing_token)


def _is_abandoned(job: Job, is_gone: Callable[[str], bool]) -> bool:
    return job.lease_until is None or job.lease_until < utc_now() or is_gone(job.lease_owner or "")
