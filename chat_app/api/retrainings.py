"""Routes to start a retraining, to follow it and to cancel it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict

from chat_app.api.dependencies import MAX_ID, CurrentPerson, CurrentServices, Id
from chat_app.api.errors import documented
from chat_app.services.retraining import JobView
from training.jobs import JobInfo, JobState

router = APIRouter(prefix="/api/retrainings", tags=["retrainings"])

Since = Annotated[int, Query(ge=0, le=MAX_ID)]


class NewRetraining(BaseModel):
    """A preset (the set one when left out) and changes to it by name, as {"ppo": {"updates": 8}}."""

    model_config = ConfigDict(extra="forbid")

    preset: str | None = None
    settings: dict[str, Any] = {}


class StartedBody(BaseModel):
    """The queued job."""

    job_id: int


class JobBody(BaseModel):
    """A retraining; `progress` from 0 to 1, `result` holds the gate's verdict and the new version."""

    id: int
    kind: str
    state: JobState
    attempt: int
    requested_by: str
    snapshot_id: int | None
    phase: str
    progress: float
    cancel_requested: bool
    result: dict[str, Any]
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: JobInfo) -> Self:
        """Build the body from the jobs' value."""
        return cls(**{name: getattr(job, name) for name in cls.model_fields})


class MetricBody(BaseModel):
    """A point of a curve."""

    id: int
    step: int
    name: str
    value: float


class EventBody(BaseModel):
    """A line of the log."""

    id: int
    kind: str
    text: str
    data: dict[str, Any]
    created_at: datetime


class FollowBody(BaseModel):
    """A retraining with what it reported after `since_metric` and `since_event`."""

    job: JobBody
    config: dict[str, Any]
    metrics: list[MetricBody]
    events: list[EventBody]

    @classmethod
    def of(cls, view: JobView) -> Self:
        """Build the body from the service's value."""
        return cls(
            job=JobBody.of(view.job),
            config=view.job.config,
            metrics=[MetricBody(**_fields(MetricBody, point)) for point in view.metrics],
            events=[EventBody(**_fields(EventBody, line)) for line in view.events],
        )


def _fields(body: type[BaseModel], value: Any) -> dict[str, Any]:
    return {name: field for name, field in asdict(value).items() if name in body.model_fields}


@router.post("", status_code=202, responses=documented(403, 409, 422, 507))
def start_retraining(
    body: NewRetraining, services: CurrentServices, person: CurrentPerson, response: Response
) -> StartedBody:
    """Freeze the votes and queue a retraining. 409: too few votes, or one is under way."""
    job_id = services.retraining.start(person, body.preset, body.settings)
    response.headers["Location"] = f"/api/retrainings/{job_id}"
    return StartedBody(job_id=job_id)


@router.get("")
def list_retrainings(
    services: CurrentServices, person: CurrentPerson, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> list[JobBody]:
    """List the newest retrainings first."""
    return [JobBody.of(job) for job in services.retraining.recent(person, limit)]


@router.get("/{job_id}", responses=documented(404))
def follow_retraining(
    job_id: Id,
    services: CurrentServices,
    person: CurrentPerson,
    since_metric: Since = 0,
    since_event: Since = 0,
) -> FollowBody:
    """Follow a retraining: ask again with the last ids you have seen."""
    return FollowBody.of(services.retraining.follow(person, job_id, since_metric, since_event))


@router.post("/{job_id}/cancel", status_code=202, responses=documented(403, 404, 409))
def cancel_retraining(job_id: Id, services: CurrentServices, person: CurrentPerson) -> JobBody:
    """Ask a retraining to end; it does within ten seconds."""
    return JobBody.of(services.retraining.cancel(person, job_id))
