"""How a stage tells what it does: the `Reporter` protocol, and reporters that are silent or print."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from training.job_values import EventKind


class Reporter(Protocol):
    """Takes phases, numbers, log lines and samples of a running stage.

    `phase`, `metric` and `metrics` may raise `JobCancelled` or `LeaseLost`: a stage lets them pass through.
    Progress is between 0 and 1 for the whole job. Metric names are like "ppo/score".
    """

    def phase(self, name: str, progress: float) -> None: ...
    def metric(self, step: int, **values: float) -> None: ...
    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...
    def log(self, text: str, kind: EventKind = "info") -> None: ...
    def sample(
        self, step: int, prompt: Sequence[Mapping[str, Any]], text: str, score: float | None
    ) -> None: ...


class SilentReporter:
    """Keeps nothing: for scripts and tests that only want the result."""

    def phase(self, name: str, progress: float) -> None:
        pass

    def metric(self, step: int, **values: float) -> None:
        pass

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def log(self, text: str, kind: EventKind = "info") -> None:
        pass

    def sample(self, step: int, prompt: Sequence[Mapping[str, Any]], text: str, score: float | None) -> None:
        pass


class PrintReporter:
    """Prints a line for each report: for scripts that a person watches."""

    def phase(self, name: str, progress: float) -> None:
        print(f"{progress:4.0%}  {name}", flush=True)

    def metric(self, step: int, **values: float) -> None:
        self.metrics(step, values)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step}  {numbers}", flush=True)

    def log(self, text: str, kind: EventKind = "info") -> None:
        print(text if kind == "info" else f"{kind}: {text}", flush=True)

    def sample(self, step: int, prompt: Sequence[Mapping[str, Any]], text: str, score: float | None) -> None:
        scored = "" if score is None else f" ({score:.2f})"
        print(f"step {step}  {prompt[-1]['content']!r} -> {text!r}{scored}", flush=True)
