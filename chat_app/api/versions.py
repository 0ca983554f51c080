"""Routes to list model versions and to decide which one answers."""

from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from chat_app.api.dependencies import CurrentPerson, CurrentServices, Id
from chat_app.api.errors import documented
from training.registry import VersionInfo

router = APIRouter(prefix="/api/versions", tags=["versions"])


class VersionBody(BaseModel):
    """A model version: what it is, what it came from and what the gate measured."""

    id: int
    name: str
    kind: str
    state: str
    metrics: dict[str, Any]
    start_id: int | None
    anchor_id: int | None
    reward_id: int | None
    job_id: int | None
    created_at: datetime
    promoted_at: datetime | None

    @classmethod
    def of(cls, version: VersionInfo) -> Self:
        """Build the body from the registry's value."""
        return cls(**{name: getattr(version, name) for name in cls.model_fields})


class Promotion(BaseModel):
    """Without a reason only a version that passed the gate is served; with one, any, and that is audited."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(default=None, description="Why to promote against the gate's verdict")


@router.get("")
def list_versions(services: CurrentServices, person: CurrentPerson) -> list[VersionBody]:
    """List the versions, the newest first."""
    return [VersionBody.of(version) for version in services.versions.list(person)]


@router.post("/roll-back", responses=documented(403, 409))
def roll_back(services: CurrentServices, person: CurrentPerson) -> VersionBody:
    """Serve the version that was served before."""
    return VersionBody.of(services.versions.roll_back(person))


@router.get("/{version_id}", responses=documented(404))
def get_version(version_id: Id, services: CurrentServices, person: CurrentPerson) -> VersionBody:
    """Look at one version."""
    return VersionBody.of(services.versions.get(person, version_id))


@router.post("/{version_id}/promote", responses=documented(403, 404, 409, 422))
def promote(version_id: Id, body: Promotion, services: CurrentServices, person: CurrentPerson) -> VersionBody:
    """Serve a version from now on."""
    if body.reason is None:
        return VersionBody.of(services.versions.promote(person, version_id))
    return VersionBody.of(services.versions.promote_anyway(person, version_id, body.reason))
