"""Watches which version the registry says is being served, and has the engine serve it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.errors import VersionUnavailable

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0  # before a version that could not be loaded is tried again


class _Version(Protocol):
    @property
    def id(self) -> int: ...


class ServingSource(Protocol):
    """What the watcher needs of the registry."""

    def serving(self) -> _Version:
        """Give the version to serve."""
        ...


class ServingWatcher:
    """A thread of its own that polls, so that a promotion by any process reaches this one."""

    def __init__(
        self, *, engine: InferenceEngine, registry: ServingSource, poll_seconds: float = 0.5
    ) -> None:
        """Watch `registry` every `poll_seconds`, once started."""
        self._engine = engine
        self._registry = registry
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._broken: tuple[int, float] | None = None  # version, and when to try it again
        self._last_trouble = ""
        self._thread = threading.Thread(target=self._run, name="serving-watcher", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, after the load that may be under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Look once, and swap if another version is to be served. Raises what looking or loading raises."""
        wanted = self._registry.serving().id
        if wanted == self._engine.serving_version_id or self._is_known_broken(wanted):
            return
        try:
            self._engine.serve_version(wanted)
        except VersionUnavailable:
            self._broken = (wanted, time.monotonic() + RETRY_SECONDS)
            raise

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.check()
                self._last_trouble = ""
            except Exception as error:  # the database may be away for a while; what is served goes on
                self._report(error)
            self._stop.wait(self._poll_seconds)

    def _is_known_broken(self, version_id: int) -> bool:
        return (
            self._broken is not None and self._broken[0] == version_id and time.monotonic() < self._broken[1]
        )

    def _report(self, error: Exception) -> None:
        """Log a trouble once, not at every look."""
        if str(error) != self._last_trouble:
            self._last_trouble = str(error)
            logger.error("Cannot follow the served version: %s", error)
