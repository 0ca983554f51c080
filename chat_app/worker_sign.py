"""A worker's sign of life: a file in the data folder that it touches, so that others see it is there."""

import time
from pathlib import Path
from threading import Event

TOUCH_SECONDS = 5.0
STALE_SECONDS = 20.0


class WorkerSign:
    """The file's age says how long ago a worker lived."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "worker.alive"

    def keep_fresh(self, stop: Event) -> None:
        """Touch the file until `stop` is set, then remove it."""
        while not stop.wait(TOUCH_SECONDS if self._touch() else 1.0):
            pass
        self._path.unlink(missing_ok=True)

    def is_fresh(self) -> bool:
        """Tell whether a worker lived within the last twenty seconds."""
        try:
            return time.time() - self._path.stat().st_mtime < STALE_SECONDS
        except OSError:
            return False

    def _touch(self) -> bool:
        try:
            self._path.touch()
        except OSError:  # a full disk must not end the worker; the sign goes stale and says so
            return False
        return True
