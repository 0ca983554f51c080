"""Lists the files of a model folder with size and sha256, syncs them to disk, and tells what has changed."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

FileList = dict[str, dict[str, Any]]  # relative path -> {"sha256": hex, "bytes": size}


def list_files(folder: Path) -> FileList:
    """Size and sha256 of every file below a folder; hidden files are not part of a model."""
    return {
        str(path.relative_to(folder)): {"sha256": _sha256(path), "bytes": path.stat().st_size}
        for path in _files(folder)
    }


def sync_to_disk(folder: Path) -> None:
    """Make sure that all files below a folder, and their names, survive a power cut."""
    for path in [*_files(folder), *_folders(folder)]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def find_trouble(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> str | None:
    """What is missing or different from the list, in words; None when every listed file is as it was."""
    trouble = find_trouble_quickly(folder, files)
    if trouble is not None:
        return trouble
    for name, entry in files.items():
        if _sha256(folder / name) != entry["sha256"]:
            return f"the content of {name} has changed"
    return None


def find_trouble_quickly(
    folder: Path, files: Mapping[str, Mapping[str, Any]], *, written_before: datetime | None = None
) -> str | None:
    """As `find_trouble`, but looks only at names, sizes and, when asked, at times of writing."""
    if not folder.is_dir():
        return "the folder is missing"
    for name, entry in files.items():
        try:
            status = (folder / name).stat()
        except OSError:
            return f"the file {name} is missing"
        if status.st_size != entry["bytes"]:
            return f"{name} has {status.st_size:,} bytes instead of {entry['bytes']:,}"
        if written_before is not None and status.st_mtime > written_before.timestamp():
            return f"{name} was written again"
    return None


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not is_hidden:
            yield path


def _folders(folder: Path) -> Iterator[Path]:
    yield from (path for path in folder.rglob("*") if path.is_dir())
    yield folder
    yield folder.parent


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
