"""The registry of model versions: which there are, where their files are, and which one serves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from db.engine import Database
from db.tables import AuditEvent, ModelVersion
from training.base_model import HUB
from training.base_registration import ensure_base
from training.errors import BrokenVersion, NothingBefore, NothingServing, VersionNotFound
from training.job_rows import held_job
from training.manifest import find_trouble, find_trouble_quickly
from training.model_store import ModelStore
from training.plain_json import plain_json
from training.version_rows import (
    LINE,
    VersionInfo,
    VersionKind,
    find_version,
    promote_row,
    require_serving,
    resolved_path,
    roll_back_target,
    serve,
    version_info,
    versions_of_line,
)

__all__ = ["Registry", "VersionInfo"]


class Registry:
    """The versions of one database and one folder; safe to use from several processes at once."""

    def __init__(self, *, database: Database, models_dir: Path) -> None:
        self.database = database
        self.store = ModelStore(models_dir)

    @property
    def models_dir(self) -> Path:
        """Where the folders of versions are."""
        return self.store.models_dir

    def ensure_base(self, *, path_or_name: str, name: str) -> int:
        """Register the model of the settings ("" is the bundled one); serve its line if another one's serves.

        Raises UnusableModel.
        """
        return ensure_base(database=self.database, store=self.store, path_or_name=path_or_name, name=name)

    def add_version(
        self,
        *,
        kind: VersionKind,
        name_hint: str,
        folder: Path,
        metrics: Mapping[str, Any],
        start_id: int | None,
        anchor_id: int | None,
        reward_id: int | None,
        job_id: int | None,
        fencing_token: int | None = None,
    ) -> int:
        """Take a finished folder in as a candidate named `<name_hint>-<id>`; `folder` is gone afterwards.

        Raises StaleLease when the job is no longer held with the token; then, and on any other error, the
        folder is back at its place and no version was added.
        """
        version = ModelVersion(
            line=LINE,
            kind=kind,
            metrics=plain_json(metrics),
            start_id=start_id,
            anchor_id=anchor_id,
            reward_id=reward_id,
            job_id=job_id,
        )
        with self.store.locked(), self.store.moved_in(folder, kind=kind) as (place, files):
            version.path = version.name = place
            version.manifest = {"source": None, "files": files}
            with self.database.write() as session:
                if job_id is not None and fencing_token is not None:
                    held_job(session=session, job_id=job_id, fencing_token=fencing_token)
                session.add(version)
                session.flush()
                version.name = f"{name_hint}-{version.id}"
        return version.id

    def serving(self) -> VersionInfo:
        """The version that answers now. Raises NothingServing."""
        with self.database.read() as session:
            query = select(ModelVersion).where(ModelVersion.line == LINE, ModelVersion.state == "serving")
            version = session.scalars(query).first()
        if version is None:
            raise NothingServing()
        return version_info(version, self.models_dir)

    def get(self, version_id: int) -> VersionInfo:
        """Raises VersionNotFound."""
        return version_info(self._row(version_id), self.models_dir)

    def of_job(self, job_id: int, kind: VersionKind) -> VersionInfo | None:
        """The newest version of a kind that a job has made, so that a resumed job does not make it again."""
        with self.database.read() as session:
            query = select(ModelVersion).where(ModelVersion.job_id == job_id, ModelVersion.kind == kind)
            version = session.scalars(query.order_by(ModelVersion.id.desc())).first()
        return None if version is None else version_info(version, self.models_dir)

    def promote(
        self,
        version_id: int,
        *,
        by_user_id: int | None,
        reason: str,
        verdict: Mapping[str, Any],
        job_id: int | None = None,
        fencing_token: int | None = None,
        forced: bool = False,
    ) -> None:
        """Serve a version from now on: the old one retires, and the act is kept with the gate's verdict
        beside it.

        Promoting what serves already changes nothing. Raises VersionNotFound, NotServable, BrokenVersion,
        and StaleLease when the job is no longer held with the token.
        """
        self.verify(version_id)
        detail = {"reason": reason, "verdict": plain_json(verdict), "forced": forced, "job": job_id}
        with self.database.write() as session:
            if job_id is not None and fencing_token is not None:
                held_job(session=session, job_id=job_id, fencing_token=fencing_token)
            versions = versions_of_line(session=session)
            version = find_version(versions, version_id)
            if version.state != "serving":
                audit = AuditEvent(user_id=by_user_id, action="promote", detail=detail)
                promote_row(session=session, version=version, versions=versions, audit=audit)

    def roll_back(self, *, by_user_id: int | None) -> VersionInfo:
        """Serve the version served before; doing it again goes one further back.

        Raises NothingBefore, BrokenVersion.
        """
        with self.database.write() as session:
            versions = versions_of_line(session=session)
            left, target = require_serving(versions), roll_back_target(versions)
            if target is None:
                raise NothingBefore(left.name)
            self._check_files(target, thoroughly=False)
            serve(session=session, version=target, versions=versions)
            left.promoted_at = None  # it is out of the history that the next roll back walks
            session.add(
                AuditEvent(
                    user_id=by_user_id,
                    action="roll back",
                    subject=f"version {target.id}",
                    detail={"version": target.name, "before": left.name},
                )
            )
        return self.get(target.id)

    def verify(self, version_id: int) -> None:
        """Compare the files of a version, and of the models it stands on, with their manifests.

        Raises BrokenVersion, which names the file.
        """
        version: ModelVersion | None = self._row(version_id)
        while version is not None:
            self._check_files(version, thoroughly=not Path(version.path).is_absolute())
            version = None if version.anchor_id is None else self._row(version.anchor_id)

    def sweep(self) -> list[str]:
        """Remove the folders that a crash left without a version; return their names."""
        with self.store.locked():
            with self.database.read() as session:
                known = set(session.scalars(select(ModelVersion.path)))
            return self.store.sweep(known)

    def list(self, kind: VersionKind | None = None) -> list[VersionInfo]:
        """The versions in the order they were made."""
        query = select(ModelVersion).where(ModelVersion.line == LINE).order_by(ModelVersion.id)
        if kind is not None:
            query = query.where(ModelVersion.kind == kind)
        with self.database.read() as session:
            return [version_info(version, self.models_dir) for version in session.scalars(query)]

    def _row(self, version_id: int) -> ModelVersion:
        with self.database.read() as session:
            version = session.get(ModelVersion, version_id)
        if version is None:
            raise VersionNotFound(version_id)
        return version

    def _check_files(self, version: ModelVersion, *, thoroughly: bool) -> None:
        """A person's own folder may hold many gigabytes, and is looked at quickly."""
        if version.path.startswith(HUB):
            return
        folder = Path(resolved_path(version, self.models_dir))
        files = version.manifest.get("files", {})
        trouble = (find_trouble if thoroughly else find_trouble_quickly)(folder, files)
        if trouble is not None:
            raise BrokenVersion(name=version.name, path=str(folder), trouble=trouble)
