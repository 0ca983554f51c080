"""Registers the model of the settings as a version, and serves its line when the setting has changed.

The bundled model is copied into the store, because the package's own files move and change with upgrades
while adapters trained on them must keep their anchor. A folder of the person's is used where it is, a hub's
by name.

Beside the bundled model stands what it was before fine-tuning, to chat with and to compare. It never serves,
and no version is anchored to it: the reference of PPO is the fine-tuned model.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from db.engine import Database
from db.tables import AuditEvent, ModelVersion
from training.base_model import HUB, ModelSource, find_pretrained, find_source
from training.manifest import FileList, find_trouble, find_trouble_quickly, list_files
from training.model_store import ModelStore
from training.version_rows import (
    LINE,
    VersionKind,
    base_of,
    find_serving,
    is_servable,
    promote_row,
    versions_of_line,
)

logger = logging.getLogger(__name__)

BASE_KIND: VersionKind = (
    "sft"  # what a person starts from has been taught to chat: it is the reference of PPO
)
PRETRAINED_KIND: VersionKind = "base"
PRETRAINED_NAME = "base"


def ensure_base(*, database: Database, store: ModelStore, path_or_name: str, name: str) -> int:
    """Return the id of the version that stands for the model setting; serve its line if another one's is
    serving.

    After a change of the setting the line's version that was promoted last serves, or the base itself. A
    newer bundled model is listed beside a line that grew from an older one and is not forced on it. Raises
    UnusableModel.
    """
    source = find_source(path_or_name)
    pretrained = find_pretrained() if source.is_bundled else None
    with store.locked():
        start_id = None
        if pretrained is not None:
            start_id = _ensure(database, store, pretrained, _Entry(PRETRAINED_KIND, PRETRAINED_NAME))
        base_id = _ensure(database, store, source, _Entry(BASE_KIND, name, start_id))
        _serve_line(database, source, base_id)
    return base_id


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a model is registered as: its kind and name, and the version it was fine-tuned from."""

    kind: VersionKind
    name: str
    start_id: int | None = None


def _ensure(database: Database, store: ModelStore, source: ModelSource, entry: _Entry) -> int:
    """Return the id of a model's version; make one where there is none or its files have changed."""
    known = _known_base(database, source)
    if known is not None and _is_unchanged(known, source, store):
        return known.id
    return _register(database, store, source, entry)


def _known_base(database: Database, source: ModelSource) -> ModelVersion | None:
    with database.write() as session:
        bases = [each for each in versions_of_line(session=session) if _source_name(each) == source.name]
    return bases[-1] if bases else None


def _source_name(version: ModelVersion) -> str | None:
    name: str | None = version.manifest.get("source")
    return name


def _is_unchanged(known: ModelVersion, source: ModelSource, store: ModelStore) -> bool:
    if source.folder is None:
        return True
    files: FileList = known.manifest["files"]
    if source.is_bundled:
        is_copy_whole = find_trouble_quickly(store.models_dir / known.path, files) is None
        return is_copy_whole and find_trouble(source.folder, files) is None
    if find_trouble_quickly(source.folder, files, written_before=known.created_at) is None:
        return True
    return find_trouble(source.folder, files) is None


def _register(database: Database, store: ModelStore, source: ModelSource, entry: _Entry) -> int:
    path, files = _place(store, source, entry.kind)
    with database.write() as session:
        version = ModelVersion(
            line=LINE,
            name=_free_name(entry.name, versions_of_line(session=session)),
            kind=entry.kind,
            path=path,
            start_id=entry.start_id,
            manifest={"source": source.name, "files": files},
        )
        session.add(version)
        session.flush()
        return version.id


def _place(store: ModelStore, source: ModelSource, kind: VersionKind) -> tuple[str, FileList]:
    if source.folder is None:
        return HUB + source.name.removeprefix(HUB), {}
    if source.is_bundled:
        return store.copy_in(source.folder, kind=kind)
    logger.info("Reading the model folder %s once, to notice later changes.", source.folder)
    return str(source.folder), list_files(source.folder)


def _free_name(name: str, versions: Sequence[ModelVersion]) -> str:
    taken = {version.name for version in versions}
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _serve_line(database: Database, source: ModelSource, base_id: int) -> None:
    with database.write() as session:
        versions = versions_of_line(session=session)
        serving = find_serving(versions)
        if serving is not None and _is_of_setting(base_of(serving, versions), source, base_id):
            return
        version = _newest_served(versions, base_id)
        reason = "first start" if serving is None else f"the model setting is now {source.name}"
        audit = AuditEvent(action="promote", detail={"reason": reason, "forced": False})
        promote_row(session=session, version=version, versions=versions, audit=audit)
        logger.info("Serving %s: %s.", version.name, reason)


def _is_of_setting(base: ModelVersion, source: ModelSource, base_id: int) -> bool:
    return base.id == base_id or (source.is_bundled and _source_name(base) == source.name)


def _newest_served(versions: Sequence[ModelVersion], base_id: int) -> ModelVersion:
    """The base's descendant that was promoted last, or the base itself."""
    family = [each for each in versions if base_of(each, versions).id == base_id and is_servable(each)]
    promoted = [each for each in family if each.promoted_at is not None]
    if promoted:
        return max(promoted, key=lambda each: (each.promoted_at is not None and each.promoted_at, each.id))
    return next(each for each in family if each.id == base_id)
