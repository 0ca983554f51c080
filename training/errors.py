"""What can go wrong with jobs and model versions, each naming the thing, its value and the remedy."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


class TrainingError(Exception):
    """Something about training that a person can read and act on.

    `code` is stable and names the case for programs and translations; `facts` are the values in the message.
    """

    code = "training_error"

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.facts: Mapping[str, Any] = facts


class JobError(TrainingError):
    """A job cannot do what was asked of it."""


class JobNotFound(JobError):
    """There is no job with that id."""

    code = "job_not_found"

    def __init__(self, job_id: int) -> None:
        super().__init__(f"There is no job {job_id}. The Train page lists the jobs there are.", job_id=job_id)


class JobAlreadyActive(JobError):
    """A model line is trained by one job at a time, and one is queued or running."""

    code = "job_already_active"

    def __init__(
        self, *, job_id: int, state: str, asked_by: str, asked_at: datetime, progress: float
    ) -> None:
        how_far = f"running, {progress:.0%} done" if state == "running" else "waiting for a worker"
        super().__init__(
            f"Retraining {job_id}, asked for by {asked_by} at {asked_at:%Y-%m-%d %H:%M} UTC, is {how_far}. "
            "One runs at a time: wait for it, or cancel it on the Train page, "
            f"or with POST /api/retrainings/{job_id}/cancel.",
            job_id=job_id,
            state=state,
            asked_by=asked_by,
        )


class JobNotActive(JobError):
    """A job that has ended cannot be cancelled."""

    code = "job_not_active"

    def __init__(self, *, job_id: int, state: str) -> None:
        super().__init__(
            f"Job {job_id} has already {_ENDED.get(state, state)}, so there is nothing to cancel.",
            job_id=job_id,
            state=state,
        )


_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}


class TooFewComparisons(JobError):
    """Too little was voted on to learn from."""

    code = "too_few_comparisons"

    def __init__(self, *, count: int, minimum: int) -> None:
        there_are = f"There is {count} comparison" if count == 1 else f"There are {count} comparisons"
        super().__init__(
            f"{there_are}; retraining needs at least {minimum}. "
            "Collect more, or lower training.min_comparisons.",
            count=count,
            minimum=minimum,
        )


class StaleLease(JobError):
    """Another attempt holds the job, or it has ended: the old fencing token may change nothing."""

    code = "stale_lease"

    def __init__(self, *, job_id: int, fencing_token: int, current: int, state: str) -> None:
        super().__init__(
            f"Job {job_id} is no longer held with fencing token {fencing_token}: it is {state} and its token "
            f"is {current}. Nothing was changed; the attempt that holds it goes on.",
            job_id=job_id,
            fencing_token=fencing_token,
        )


class JobCancelled(JobError):
    """Raised inside a job when somebody asked for its end."""

    code = "job_cancelled"

    def __init__(self, job_id: int) -> None:
        super().__init__(f"Job {job_id} was asked to stop.", job_id=job_id)


class LeaseLost(JobError):
    """Raised inside a job that another attempt has replaced, so that there are never two runs of it."""

    code = "lease_lost"

    def __init__(self, job_id: int) -> None:
        super().__init__(f"Job {job_id} lost its lease: this attempt ends here.", job_id=job_id)


class RegistryError(TrainingError):
    """A model version cannot do what was asked of it."""


class VersionNotFound(RegistryError):
    """There is no model version with that id."""

    code = "version_not_found"

    def __init__(self, version_id: int) -> None:
        super().__init__(
            f"There is no model version {version_id}. The Models page lists the versions there are.",
            version_id=version_id,
        )


class BrokenVersion(RegistryError):
    """The files of a version are not the files that were registered."""

    code = "broken_version"

    def __init__(self, *, name: str, path: str, trouble: str) -> None:
        super().__init__(
            f"Model version {name} cannot be used: {trouble} (in {path}). "
            "Bring the file back from a backup, or serve another version.",
            name=name,
            path=path,
            trouble=trouble,
        )


class UnusableModel(RegistryError):
    """The model that the settings name is no model folder."""

    code = "unusable_model"


class NotServable(RegistryError):
    """A version of a kind that does not answer everybody."""

    code = "not_servable"

    def __init__(self, *, name: str, kind: str) -> None:
        super().__init__(
            f"Model version {name} is a {kind} model and cannot serve. Promote a policy version instead.",
            name=name,
            kind=kind,
        )


class NothingServing(RegistryError):
    """No version is set to answer."""

    code = "nothing_serving"

    def __init__(self) -> None:
        super().__init__(
            "No model version is serving. Start the service once, which registers its model, "
            "or promote a version."
        )


class NothingBefore(RegistryError):
    """There is no version to roll back to."""

    code = "nothing_before"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"No version was serving before {name}, so there is nothing to roll back to. "
            "Promote the version you want instead.",
            name=name,
        )
