"""Keeps the folders of model versions: takes each in whole or not at all, and removes what has no row.

The folder is complete and on the disk before it is moved to its place, and in its place before its row is
written. A crash in between leaves a folder without a row, which `sweep` removes. The file lock keeps
`sweep` from a folder whose row is about to come.
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from db.errors import DatabaseError
from training.manifest import FileList, list_files, sync_to_disk

_OURS = re.compile(r"^(incoming|base|sft|reward|policy)-[0-9a-f]{12}$")


class ModelStore:
    """The folder of all model folders."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from adding or sweeping; the system frees the lock of a killed process."""
        self.models_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(self.models_dir / ".lock"):
            yield

    def copy_in(self, folder: Path, *, kind: str) -> tuple[str, FileList]:
        """Copy a folder to a place of its own; return the place's name and the files there."""
        incoming = self.models_dir / _new_name("incoming")
        shutil.copytree(folder, incoming)
        return self._move(incoming, kind)

    @contextmanager
    def moved_in(self, folder: Path, *, kind: str) -> Iterator[tuple[str, FileList]]:
        """Move a finished folder to a place of its own; it goes back when the block, which writes the row,
        fails.

        After a database error nobody knows whether the row was written, so the folder stays for `sweep` to
        judge.
        """
        try:
            name, files = self._move(folder, kind)
        except OSError as error:
            if error.errno != errno.EXDEV:  # on another disk it cannot be moved at one stroke
                raise
            name, files = self.copy_in(folder, kind=kind)
        try:
            yield name, files
        except DatabaseError:
            raise
        except BaseException:
            if folder.exists():
                shutil.rmtree(self.models_dir / name)
            else:
                os.replace(self.models_dir / name, folder)
            raise
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, known: Collection[str]) -> list[str]:
        """Remove the folders that a crash left without a row; return their names. Foreign folders stay."""
        if not self.models_dir.is_dir():
            return []
        lost = [path for path in sorted(self.models_dir.iterdir()) if _OURS.match(path.name)]
        lost = [path for path in lost if path.name not in known]
        for path in lost:
            shutil.rmtree(path)
        return [path.name for path in lost]

    def _move(self, folder: Path, kind: str) -> tuple[str, FileList]:
        files = list_files(folder)
        sync_to_disk(folder)
        name = _new_name(kind)
        os.replace(folder, self.models_dir / name)
        sync_to_disk(self.models_dir / name)
        return name, files


def _new_name(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:12]}"
