"""A disk of a quarter of a megabyte, to see what happens when one is full."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB on `folder`; the test is skipped where that is not permitted."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command, so no disk can be filled")
    if mounted.returncode:
        pytest.skip(f"only root can mount a disk to be filled: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, *, leave: int) -> None:
    """Write until nothing more fits, then free `leave` bytes (a multiple of 4096)."""
    size = 0
    with (disk / "filler").open("wb", buffering=0) as filler:
        with suppress(OSError):
            while True:
                size += filler.write(b"\0" * 4096)
        filler.truncate(size - leave)
