"""Writes a running job's reports to the database, gathered for half a second, and hears whether to stop."""

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from training.errors import JobCancelled, LeaseLost, StaleLease
from training.job_reports import MAX_NAME
from training.job_values import ClaimedJob, EventKind, NewEvent, NewMetric, Report
from training.jobs import Jobs
from training.plain_json import plain_json

LOOK_SECONDS = 2.0  # how often a job that reports nothing still asks whether it shall stop


class DatabaseReporter:
    """Implements `Reporter` for the holder of a job; use it as a context manager.

    Reports are gathered and written by a thread every `flush_seconds`, each time in one short transaction
    that checks the fencing token. `phase` writes at once. `phase`, `metric` and `metrics` raise
    JobCancelled when a cancel was asked for, and LeaseLost when another attempt holds the job. A write that
    fails is tried again with the next; its error is raised by the next `phase`, or at the end.
    """

    def __init__(self, jobs: Jobs, claimed: ClaimedJob, *, flush_seconds: float = 0.5) -> None:
        self._jobs = jobs
        self._claimed = claimed
        self._flush_seconds = flush_seconds
        self._metrics: list[NewMetric] = []
        self._events: list[NewEvent] = []
        self._waiting = threading.Lock()  # guards the two lists
        self._writing = threading.Lock()  # one write at a time, so that reports keep their order
        self._is_cancelled = threading.Event()
        self._is_lost = threading.Event()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._write_regularly, name="reporter", daemon=True)
        self.current_phase = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed.set()
        self._thread.join()
        if not self._is_lost.is_set():
            self._write()

    def stop(self) -> None:
        """Let the next report raise JobCancelled; safe to call from a signal handler."""
        self._is_cancelled.set()

    @property
    def is_stopping(self) -> bool:
        """Somebody asked for the job's end."""
        return self._is_cancelled.is_set()

    def phase(self, name: str, progress: float) -> None:
        self.current_phase = name
        self._write(phase=name, progress=progress)
        self._raise_if_over()

    def metric(self, step: int, **values: float) -> None:
        self.metrics(step, values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        for name in values:
            if not 0 < len(name) <= MAX_NAME:
                raise ValueError(f"The metric name {name!r} must have 1 to {MAX_NAME} characters.")
        with self._waiting:
            self._metrics += [NewMetric(step, name, float(value)) for name, value in values.items()]
        self._raise_if_over()

    def log(self, text: str, kind: EventKind = "info") -> None:
        print(text if kind == "info" else f"{kind}: {text}", flush=True)  # into log.txt as well
        self._add(NewEvent(kind, text))

    def sample(self, step: int, prompt: Sequence[Mapping[str, Any]], text: str, score: float | None) -> None:
        data = plain_json({"step": step, "prompt": prompt, "score": score})
        self._add(NewEvent("sample", text, data))

    def _add(self, event: NewEvent) -> None:
        with self._waiting:
            self._events.append(event)

    def _write_regularly(self) -> None:
        quiet = 0.0
        while not self._is_closed.wait(self._flush_seconds) and not self._is_lost.is_set():
            quiet += self._flush_seconds
            if not (self._metrics or self._events or quiet >= LOOK_SECONDS):
                continue
            quiet = 0.0
            try:
                self._write()
            except Exception as error:  # kept for the next write; `phase` and the end write in the open
                print(f"warning: the report waits, the database did not take it: {error}", flush=True)

    def _write(self, phase: str | None = None, progress: float | None = None) -> None:
        with self._writing:
            with self._waiting:
                metrics, events = tuple(self._metrics), tuple(self._events)
            try:
                heartbeat = self._jobs.record(self._claimed, Report(phase, progress, metrics, events))
            except StaleLease:
                self._is_lost.set()
                return
            with self._waiting:
                del self._metrics[: len(metrics)], self._events[: len(events)]
            if heartbeat.cancel_requested:
                self._is_cancelled.set()

    def _raise_if_over(self) -> None:
        if self._is_lost.is_set():
            raise LeaseLost(self._claimed.job_id)
        if self._is_cancelled.is_set():
            raise JobCancelled(self._claimed.job_id)
