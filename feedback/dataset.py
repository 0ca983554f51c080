"""Freezes the preferences given so far into a file that training reads, named by what it holds."""

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.queries.preferences import count_answered_comparisons, current_preferences
from db.tables import Preference, Snapshot, SnapshotPreference
from feedback.errors import SnapshotCorrupt, SnapshotNotWritten
from feedback.preference import (
    VOTE_SPLIT_RULE,
    Message,
    Ranking,
    VotePart,
    messages_from,
    ordered_pairs,
    tied_pairs,
    vote_part,
)


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One preference as it was frozen; `completions` and what follows them go by position shown."""

    preference_id: int
    comparison_id: int
    user_id: int
    prompt: tuple[Message, ...]
    prompt_hash: str
    completions: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    finish_reasons: tuple[str, ...]
    version_ids: tuple[int | None, ...]
    ranks: Ranking
    is_both_bad: bool
    part: VotePart


def freeze(*, session: Session, folder: Path) -> Snapshot:
    """Write all current preferences to `folder/snapshot-<hash>.jsonl`; the same content gives the same row.

    Ties and "both bad" are included. Raises SnapshotNotWritten.
    """
    records = [_record(preference) for preference in current_preferences(session=session)]
    content = "".join(_line(record) for record in records).encode()
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder.absolute() / f"snapshot-{sha256[:12]}.jsonl"
    if not _holds(path, content):
        _write_atomically(path, content)
    existing = session.scalar(select(Snapshot).where(Snapshot.sha256 == sha256, Snapshot.path == str(path)))
    return existing or _add_snapshot(session, path, sha256, records)


def read_snapshot(path: Path, sha256: str) -> list[SnapshotRecord]:
    """The records of a snapshot; raises SnapshotCorrupt unless the file holds what was frozen."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SnapshotCorrupt(
            f"The snapshot {path} cannot be read ({error.strerror}). "
            "Start the retraining again: it freezes anew."
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise SnapshotCorrupt(
            f"The snapshot {path} has the sha256 {actual[:12]}…, not {sha256[:12]}… as when it was frozen. "
            "Start the retraining again: it freezes anew."
        )
    return [_from_line(line) for line in content.decode().splitlines()]


def count_comparisons(*, session: Session) -> int:
    """How many comparisons have been answered."""
    return count_answered_comparisons(session=session)


def count_new_comparisons(*, session: Session, since_snapshot_id: int | None) -> int:
    """How many answered comparisons the snapshot does not know; all of them without one."""
    return count_answered_comparisons(session=session, outside_snapshot_id=since_snapshot_id)


def count_records(records: Sequence[SnapshotRecord]) -> dict[str, int]:
    """What a snapshot holds: comparisons, pairs with a better one, tied pairs, people, and its parts."""
    return {
        "comparisons": len(records),
        "ordered_pairs": sum(len(ordered_pairs(record.ranks)) for record in records),
        "ties": sum(len(tied_pairs(record.ranks)) for record in records),
        "both_bad": sum(record.is_both_bad for record in records),
        "people": len({record.user_id for record in records}),
        "training": sum(record.part == "training" for record in records),
        "heldout": sum(record.part == "heldout" for record in records),
    }


def _record(preference: Preference) -> SnapshotRecord:
    comparison = preference.comparison
    completions = [shown.completion for shown in comparison.shown]
    return SnapshotRecord(
        preference_id=preference.id,
        comparison_id=comparison.id,
        user_id=preference.user_id,
        prompt=messages_from(comparison.prompt),
        prompt_hash=comparison.prompt_hash,
        completions=tuple(completion.text for completion in completions),
        token_ids=tuple(tuple(completion.token_ids) for completion in completions),
        finish_reasons=tuple(completion.finish_reason for completion in completions),
        version_ids=tuple(completion.version_id for completion in completions),
        ranks=tuple(preference.ranks),
        is_both_bad=preference.is_both_bad,
        part=vote_part(comparison.prompt_hash),
    )


def _line(record: SnapshotRecord) -> str:
    return json.dumps(asdict(record), ensure_ascii=True, sort_keys=True, separators=(",", ":")) + "\n"


def _from_line(line: str) -> SnapshotRecord:
    fields: dict[str, Any] = json.loads(line)
    tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    nested = {
        "prompt": messages_from(fields["prompt"]),
        "token_ids": tuple(tuple(ids) for ids in fields["token_ids"]),
    }
    return SnapshotRecord(**{**fields, **tuples, **nested})


def _add_snapshot(session: Session, path: Path, sha256: str, records: Sequence[SnapshotRecord]) -> Snapshot:
    snapshot = Snapshot(
        sha256=sha256, path=str(path), counts=count_records(records), split_rule=VOTE_SPLIT_RULE
    )
    session.add(snapshot)
    session.flush()
    session.add_all(
        SnapshotPreference(snapshot_id=snapshot.id, preference_id=record.preference_id) for record in records
    )
    session.flush()
    return snapshot


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _write_atomically(path: Path, content: bytes) -> None:
    """Put the whole file there or nothing, and on the disk before the database speaks of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise SnapshotNotWritten(
            f"The snapshot {path} cannot be written ({error.strerror}). Make its folder writable, "
            "or free space on its disk, then start the retraining again."
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
