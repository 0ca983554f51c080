"""Asks for a retraining: checks that there is enough to learn from, freezes the votes, and queues the job."""

from pathlib import Path

from db.engine import Database
from db.tables import AuditEvent
from feedback.dataset import count_comparisons, freeze
from training.errors import TooFewComparisons
from training.job_reports import add_events
from training.job_rows import add_job, refuse_while_active
from training.job_values import NewEvent
from training.jobs import Jobs
from training.registry import Registry
from training.settings import TrainingSettings

RETRAIN = "retrain"


def request_retraining(
    *,
    database: Database,
    registry: Registry,
    jobs: Jobs,
    settings: TrainingSettings,
    snapshots_dir: Path,
    requested_by_id: int | None,
    reason: str,
) -> int:
    """Queue a retraining of the serving version on the votes given so far, and return the job's id.

    Of two requests at once one gets the line's place and the other JobAlreadyActive; only the first freezes
    a snapshot, in the same transaction. Raises JobAlreadyActive, TooFewComparisons, NothingServing, and
    feedback's SnapshotNotWritten.
    """
    serving = registry.serving()
    with database.read() as session:
        refuse_while_active(session=session)
        count = count_comparisons(session=session)
    if count < settings.min_comparisons:
        raise TooFewComparisons(count=count, minimum=settings.min_comparisons)
    with jobs.database.write() as session:
        job = add_job(
            session=session,
            kind=RETRAIN,
            config=settings.model_dump(mode="json"),
            requested_by_id=requested_by_id,
            snapshot_id=lambda: freeze(session=session, folder=snapshots_dir).id,
        )
        detail = {"reason": reason, "snapshot": job.snapshot_id, "serving": serving.name}
        session.add(
            AuditEvent(user_id=requested_by_id, action=RETRAIN, subject=f"job {job.id}", detail=detail)
        )
        add_events(session=session, job=job, events=[NewEvent("info", f"Asked for: {reason}.")])
        return job.id
