"""What is read off a running engine at the moment somebody looks: queue, batch, versions, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine is doing, for health pages and metrics; `weight_bytes` of every version in memory, by id."""

    is_ready: bool
    queue_length: int
    waiting_groups: int
    active_rows: int
    tokens_generated: int
    tokens_per_second: float
    serving_version_id: int | None
    loaded_version_ids: tuple[int, ...]
    weight_bytes: dict[int, int]
    swaps: int


class EngineGauges(Collector):
    """Collects the figures anew at every look, so that they cost the decoding thread nothing."""

    def __init__(self, stats: Callable[[], EngineStats]) -> None:
        """Take what looks at the engine."""
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        stats = self._stats()
        yield _gauge(
            "rapport_ready", "1 when a version is warm and the service is not ending", stats.is_ready
        )
        yield _gauge("rapport_waiting_answers", "Answers that wait for a place", stats.queue_length)
        yield _gauge(
            "rapport_waiting_groups",
            "Requests that wait, two answers to compare as one",
            stats.waiting_groups,
        )
        yield _gauge("rapport_running_rows", "Answers that are being decoded", stats.active_rows)
        yield _gauge(
            "rapport_tokens_per_second",
            "Tokens per second over the last ten seconds, all answers together",
            stats.tokens_per_second,
        )
        yield _gauge(
            "rapport_serving_version",
            "Id of the version that answers; 0 for none",
            stats.serving_version_id or 0,
        )
        weights = GaugeMetricFamily(
            "rapport_version_weight_bytes",
            "Bytes of weights of every version in memory, those that only finish answers included",
            labels=["version"],
        )
        for version_id, size in sorted(stats.weight_bytes.items()):
            weights.add_metric([str(version_id)], size)
        yield weights
        yield CounterMetricFamily(
            "rapport_version_swaps", "How often another version began to answer", value=stats.swaps
        )
        yield _gauge(
            "process_resident_memory_bytes",
            "Memory of this process in bytes",
            psutil.Process().memory_info().rss,
        )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
