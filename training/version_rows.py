"""The moves of a model version's row: served, retired, rolled back to. The caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import AuditEvent, ModelVersion, utc_now
from training.base_model import HUB
from training.errors import NothingServing, NotServable, VersionNotFound

LINE = "default"

VersionKind = Literal["base", "sft", "reward", "policy"]
VersionState = Literal["candidate", "canary", "serving", "retired"]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """A model version; `path` is a folder, or for a model of a hub its name there."""

    id: int
    name: str
    kind: VersionKind
    state: VersionState
    path: str
    metrics: dict[str, Any]
    start_id: int | None
    anchor_id: int | None
    reward_id: int | None
    job_id: int | None
    created_at: datetime
    promoted_at: datetime | None

    @property
    def is_serving(self) -> bool:
        """It answers in the chat now."""
        return self.state == "serving"


def version_info(version: ModelVersion, models_dir: Path) -> VersionInfo:
    """Read a version's row, with its path made absolute."""
    return VersionInfo(
        id=version.id,
        name=version.name,
        kind=cast(VersionKind, version.kind),  # the table's check constraints hold them to these
        state=cast(VersionState, version.state),
        path=resolved_path(version, models_dir),
        metrics=dict(version.metrics),
        start_id=version.start_id,
        anchor_id=version.anchor_id,
        reward_id=version.reward_id,
        job_id=version.job_id,
        created_at=version.created_at,
        promoted_at=version.promoted_at,
    )


def resolved_path(version: ModelVersion, models_dir: Path) -> str:
    """Where the files are: stored relative to `models_dir`, absolute outside of it, or `hub:` and a name."""
    if version.path.startswith(HUB):
        return version.path.removeprefix(HUB)
    return str(models_dir / version.path)


def versions_of_line(*, session: Session) -> list[ModelVersion]:
    """Lock all versions of the line, in the order of their ids, so that one promotion waits for the other."""
    query = select(ModelVersion).where(ModelVersion.line == LINE).order_by(ModelVersion.id)
    return list(session.scalars(query.with_for_update(), execution_options={"populate_existing": True}))


def find_version(versions: Sequence[ModelVersion], version_id: int) -> ModelVersion:
    """Raises VersionNotFound."""
    for version in versions:
        if version.id == version_id:
            return version
    raise VersionNotFound(version_id)


def find_serving(versions: Sequence[ModelVersion]) -> ModelVersion | None:
    """The version that answers now, if one does."""
    return next((version for version in versions if version.state == "serving"), None)


def require_serving(versions: Sequence[ModelVersion]) -> ModelVersion:
    """Raises NothingServing."""
    serving = find_serving(versions)
    if serving is None:
        raise NothingServing()
    return serving


def base_of(version: ModelVersion, versions: Sequence[ModelVersion]) -> ModelVersion:
    """The model at the root of a version: its anchor's anchor and so on."""
    by_id = {each.id: each for each in versions}
    while version.anchor_id is not None:
        version = by_id[version.anchor_id]
    return version


def is_servable(version: ModelVersion | VersionInfo) -> bool:
    """Whether a version may answer everybody: a reward model cannot, a merely pretrained one is there to compare."""
    return version.kind in ("sft", "policy")


def can_chat(version: ModelVersion | VersionInfo) -> bool:
    """Whether a version can answer those who choose it."""
    return version.kind != "reward"


def serve(
    *, session: Session, version: ModelVersion, versions: Sequence[ModelVersion]
) -> ModelVersion | None:
    """Retire what is serving and serve this version; return what was serving. Raises NotServable."""
    if not is_servable(version):
        raise NotServable(name=version.name, kind=version.kind)
    before = find_serving(versions)
    if before is not None:
        before.state = "retired"
        session.flush()  # first: at no moment may two serve
    version.state = "serving"
    session.flush()
    return before


def promote_row(
    *, session: Session, version: ModelVersion, versions: Sequence[ModelVersion], audit: AuditEvent
) -> None:
    """Serve a version from now on, and keep the act; the audit's detail gets the names of both versions."""
    before = serve(session=session, version=version, versions=versions)
    version.promoted_at = utc_now()
    audit.subject = f"version {version.id}"
    audit.detail = {**audit.detail, "version": version.name, "before": before.name if before else None}
    session.add(audit)


def roll_back_target(versions: Sequence[ModelVersion]) -> ModelVersion | None:
    """The version that was promoted last before the serving one and has not been rolled back itself."""
    serving = require_serving(versions)
    earlier = [
        version
        for version in versions
        if version.promoted_at is not None
        and version.id != serving.id
        and (serving.promoted_at is None or version.promoted_at < serving.promoted_at)
    ]
    return max(earlier, key=lambda version: version.promoted_at or utc_now(), default=None)
