"""Stores what a running job reports, so that a curve never has two points at one step, and reads it back."""

import math
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from db.tables import Job, JobEvent, Metric
from training.job_values import (
    JobEventLine,
    MetricPoint,
    NewEvent,
    NewMetric,
    Report,
    event_line,
    metric_point,
)

MAX_NAME = 80  # the width of metric.name


def store_report(*, session: Session, job: Job, report: Report) -> None:
    """Write a report to the job's row, metrics and events; the caller has checked the fencing token."""
    if report.phase is not None:
        job.phase = report.phase
    if report.progress is not None:
        job.progress = min(max(report.progress, 0.0), 1.0)
    finite = [metric for metric in report.metrics if math.isfinite(metric.value)]
    _store_metrics(session, job, finite)
    strange = [metric for metric in report.metrics if not math.isfinite(metric.value)]
    events = [*report.events, *map(_not_a_number, strange)]
    add_events(session=session, job=job, events=events)


def add_events(*, session: Session, job: Job, events: Sequence[NewEvent]) -> None:
    """Append lines to a job's log, under its current attempt."""
    session.add_all(
        JobEvent(
            job_id=job.id, attempt=max(job.attempt, 1), kind=event.kind, text=event.text, data=event.data
        )
        for event in events
    )


def metrics_since(*, session: Session, job_id: int, since_id: int) -> list[MetricPoint]:
    """The points of a job's curves that were stored after the one with `since_id`, oldest first."""
    query = select(Metric).where(Metric.job_id == job_id, Metric.id > since_id).order_by(Metric.id)
    return [metric_point(metric) for metric in session.scalars(query)]


def events_since(*, session: Session, job_id: int, since_id: int) -> list[JobEventLine]:
    """The lines of a job's log that were stored after the one with `since_id`, oldest first."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > since_id).order_by(JobEvent.id)
    return [event_line(event) for event in session.scalars(query)]


def _store_metrics(session: Session, job: Job, metrics: Sequence[NewMetric]) -> None:
    """Insert the new points, then remove what they replace.

    A point replaces the one of its own attempt at the same step, and those of earlier attempts at the same
    or a later step: what was done after the checkpoint that the job resumed from is done again. Inserting
    comes first, because SQLite gives the highest id away again once its row is gone, and followers rely on
    growing ids.
    """
    if not metrics:
        return
    values = {(metric.name, metric.step): metric.value for metric in metrics}
    rows = [
        Metric(job_id=job.id, attempt=job.attempt, step=step, name=name, value=value)
        for (name, step), value in values.items()
    ]
    session.add_all(rows)
    session.flush()
    first_new = min(row.id for row in rows)
    steps_of = defaultdict(list)
    for name, step in values:
        steps_of[name].append(step)
    for name, steps in steps_of.items():
        _remove_replaced(session, job, name, steps, first_new)


def _remove_replaced(session: Session, job: Job, name: str, steps: list[int], first_new: int) -> None:
    is_undone = and_(Metric.attempt < job.attempt, Metric.step >= min(steps))
    is_same = and_(Metric.attempt == job.attempt, Metric.step.in_(steps))
    of_this_curve = and_(Metric.job_id == job.id, Metric.name == name, Metric.id < first_new)
    session.execute(
        delete(Metric).where(of_this_curve, or_(is_undone, is_same)),
        execution_options={"synchronize_session": False},
    )


def _not_a_number(metric: NewMetric) -> NewEvent:
    text = f"{metric.name} was {metric.value} at step {metric.step}; the curve leaves that step out."
    return NewEvent(kind="warning", text=text)
