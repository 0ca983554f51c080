"""Retraining as people see it: how many votes are new, what is running, its curves, and a button that starts it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chat_app.services.person import Person
from training.jobs import JobEventLine, JobInfo, MetricPoint


@dataclass(frozen=True, slots=True)
class RetrainingStatus:
    """Where the loop stands: votes since the last snapshot, votes at all, the least that training takes, the job."""

    new_comparisons: int
    all_comparisons: int
    needed: int
    active: JobInfo | None
    retrain_every: int

    @property
    def can_start(self) -> bool:
        """Enough votes and nothing running."""
        return self.active is None and self.all_comparisons >= self.needed


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with what it reported since the ids that were asked for; pass the last ids on to go on from there."""

    job: JobInfo
    metrics: list[MetricPoint]
    events: list[JobEventLine]


class RetrainingService:
    """All methods block on the database: call them from a thread."""

    def status(self, person: Person) -> RetrainingStatus:
        """Tell where the loop stands."""
        raise NotImplementedError

    def presets(self, person: Person) -> list[str]:
        """Name the presets that `start` takes, the default first."""
        raise NotImplementedError

    def start(
        self, person: Person, preset: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> int:
        """Freeze a snapshot and queue a retraining; return the job's id.

        Raises training's TooFewComparisons and JobAlreadyActive, InvalidInput for an unknown preset or setting.
        """
        raise NotImplementedError

    def follow(self, person: Person, job_id: int, since_metric: int = 0, since_event: int = 0) -> JobView:
        """Return a job and what it reported after the given ids. Raises NotFound."""
        raise NotImplementedError

    def cancel(self, person: Person, job_id: int) -> JobInfo:
        """Ask a job to end; it does within ten seconds. Raises NotFound, Conflict when it has ended."""
        raise NotImplementedError

    def recent(self, person: Person, limit: int = 20) -> list[JobInfo]:
        """List the newest jobs first."""
        raise NotImplementedError
