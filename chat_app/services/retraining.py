"""Retraining as people see it: the votes that are new, what is running, its curves, and its start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from pydantic import ValidationError

from chat_app.errors import InvalidInput
from chat_app.services.person import Person, require
from chat_app.settings import Settings
from db.engine import Database
from feedback.dataset import count_comparisons, count_new_comparisons
from training.jobs import JobEventLine, JobInfo, Jobs, MetricPoint
from training.registry import Registry
from training.request import request_retraining
from training.settings import PresetName, TrainingSettings


@dataclass(frozen=True, slots=True)
class RetrainingStatus:
    """Where the loop stands: votes since the last retraining, votes at all, the least it takes, the job."""

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
    """A job with what it reported after the ids that were asked for; pass the last ids on to go on."""

    job: JobInfo
    metrics: list[MetricPoint]
    events: list[JobEventLine]


class RetrainingService:
    """All methods block on the database: call them from a thread."""

    def __init__(self, *, database: Database, registry: Registry, jobs: Jobs, settings: Settings) -> None:
        self._database = database
        self._registry = registry
        self._jobs = jobs
        self._settings = settings

    def status(self, person: Person) -> RetrainingStatus:
        """Tell where the loop stands."""
        require(person, "read training")
        newest = next((job.snapshot_id for job in self._jobs.list(1)), None)
        with self._database.read() as session:
            new = count_new_comparisons(session=session, since_snapshot_id=newest)
            total = count_comparisons(session=session)
        return RetrainingStatus(
            new_comparisons=new,
            all_comparisons=total,
            needed=self._settings.training_settings().min_comparisons,
            active=self._jobs.active(),
            retrain_every=self._settings.retrain_every,
        )

    def presets(self, person: Person) -> list[str]:
        """Name the presets that `start` takes, the default first."""
        require(person, "read training")
        default = self._settings.preset
        return [default, *(name for name in get_args(PresetName) if name != default)]

    def start(
        self, person: Person, preset: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> int:
        """Freeze a snapshot and queue a retraining; return the job's id.

        Raises training's TooFewComparisons and JobAlreadyActive, InvalidInput for an unknown setting.
        """
        require(person, "train")
        return request_retraining(
            database=self._database,
            registry=self._registry,
            jobs=self._jobs,
            settings=self._resolved(preset, overrides),
            snapshots_dir=self._settings.snapshots_dir,
            requested_by_id=person.id,
            reason=f"by {person.name}",
        )

    def follow(self, person: Person, job_id: int, since_metric: int = 0, since_event: int = 0) -> JobView:
        """Return a job and what it reported after the given ids. Raises training's JobNotFound."""
        require(person, "read training")
        job = self._jobs.get(job_id)
        return JobView(job, self._jobs.metrics(job_id, since_metric), self._jobs.events(job_id, since_event))

    def cancel(self, person: Person, job_id: int) -> JobInfo:
        """Ask a job to end; it does within ten seconds. Raises training's JobNotFound, JobNotActive."""
        require(person, "train")
        return self._jobs.request_cancel(job_id, by_user_id=person.id)

    def recent(self, person: Person, limit: int = 20) -> list[JobInfo]:
        """List the newest jobs first."""
        require(person, "read training")
        return self._jobs.list(limit)

    def _resolved(self, preset: str | None, overrides: Mapping[str, Any] | None) -> TrainingSettings:
        if preset is not None and preset not in get_args(PresetName):
            known = ", ".join(get_args(PresetName))
            raise InvalidInput(f'There is no preset "{preset}".', f"Use one of {known}.", preset=preset)
        try:
            return self._settings.training_settings(cast(PresetName | None, preset), overrides)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "The setting"
            raise InvalidInput(
                f"{name} is {first['input']!r}: {first['msg']}.", "Change or leave it out.", setting=name
            ) from error
