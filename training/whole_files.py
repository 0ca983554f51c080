"""Writes a folder or a file whole or not at all: beside its place first, then renamed into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from training.errors import TrainingError


class UnwrittenError(TrainingError):
    """A result that the disk does not take; what was in its place before is untouched."""

    code = "unwritten"


@contextmanager
def whole(place: Path, what: str) -> Iterator[Path]:
    """A path beside `place` to write to; what is there at the end replaces `place`, a folder or a file.

    Raises UnwrittenError, which calls the thing `what`, when the disk is full or read-only.
    """
    fresh = place.with_name(f"{place.name}.writing")
    try:
        _remove(fresh)
        place.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        if place.is_dir():
            shutil.rmtree(place)  # a folder cannot be renamed over another
        fresh.replace(place)
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        raise UnwrittenError(
            f"{what} cannot be written to {place} ({error}). Free some space or make the folder writable, "
            "then start the run again: it goes on from its last checkpoint.",
            place=str(place),
        ) from error
    finally:
        _remove(fresh)


def _is_of_the_disk(error: Exception) -> bool:
    # `tokenizers` raises a bare Exception with the words of Rust's I/O error
    return isinstance(error, (OSError, SafetensorError)) or "(os error " in str(error)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
