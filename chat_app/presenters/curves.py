"""Curves of a retraining as small drawings: points scaled into a box, the last value and the range."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chat_app.words import Words
from training.job_values import MetricPoint

WIDTH, HEIGHT, EDGE = 240.0, 64.0, 4.0


@dataclass(frozen=True, slots=True)
class CurveCard:
    """One curve; `points` is the list of an SVG polyline in a box of WIDTH × HEIGHT."""

    name: str
    label: str
    last: str
    low: str
    high: str
    step: str
    points: str


def curve_cards(metrics: Sequence[MetricPoint], words: Words) -> list[CurveCard]:
    """Draw the metrics that have a name in words, in the order of that table."""
    series: dict[str, dict[int, float]] = {}
    for (
        point
    ) in metrics:  # in the order of ids: what a later attempt reports again takes the place of the old
        series.setdefault(point.name, {})[point.step] = point.value
    return [
        _card(name, label, series[name], words)
        for name, label in words.train.curve_names.items()
        if name in series
    ]


def _card(name: str, label: str, values: Mapping[int, float], words: Words) -> CurveCard:
    steps = sorted(values)
    numbers = [values[step] for step in steps]
    return CurveCard(
        name=name,
        label=label,
        last=number_text(name, numbers[-1]),
        low=number_text(name, min(numbers)),
        high=number_text(name, max(numbers)),
        step=words.train.step.format(step=steps[-1]),
        points=_points(steps, numbers),
    )


def _points(steps: Sequence[int], numbers: Sequence[float]) -> str:
    if len(steps) == 1:  # a short level line, so that one number can be seen at all
        return f"{EDGE:.1f},{HEIGHT / 2:.1f} {2 * EDGE:.1f},{HEIGHT / 2:.1f}"
    across, low = steps[-1] - steps[0], min(numbers)
    span = max(numbers) - low
    pairs = []
    for step, number in zip(steps, numbers, strict=True):
        x = EDGE + (step - steps[0]) / across * (WIDTH - 2 * EDGE)
        share = (number - low) / span if span else 0.5
        pairs.append(f"{x:.1f},{HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE):.1f}")
    return " ".join(pairs)


def number_text(name: str, value: float) -> str:
    """Show shares in per cent and everything else with three figures."""
    if any(part in name for part in ("accuracy", "share", "rate", "fraction")):
        return f"{value:.0%}"
    return f"{value:.3g}"
