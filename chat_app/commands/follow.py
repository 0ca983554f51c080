"""Follows a job in the terminal: phases, curves and log lines as they come, up to its end."""

import time

import typer

from chat_app.services.person import Person
from chat_app.services.retraining import RetrainingService
from training.jobs import JobInfo, MetricPoint

POLL_SECONDS = 1.0
CURVES = ("reward/loss", "reward/accuracy", "ppo/score", "ppo/kl", "ppo/entropy", "ppo/length")


def follow(service: RetrainingService, person: Person, job_id: int) -> JobInfo:
    """Print what a job reports until it ends; Ctrl-C stops following, not the job."""
    since_metric = since_event = 0
    said = ""
    while True:
        view = service.follow(person, job_id, since_metric, since_event)
        for event in view.events:
            if event.kind != "sample":
                typer.echo(f"       {event.text}")
        line = f"[{view.job.progress:4.0%}] {view.job.phase or view.job.state}"
        values = curve_values(view.metrics)
        if line != said or values:
            typer.echo(f"{line}  {values}".rstrip())
            said = line
        since_metric = max([since_metric, *(point.id for point in view.metrics)])
        since_event = max([since_event, *(event.id for event in view.events)])
        if not view.job.is_active:
            typer.echo(result_line(view.job))
            return view.job
        time.sleep(POLL_SECONDS)


def curve_values(metrics: list[MetricPoint]) -> str:
    """The newest value of each curve that tells most."""
    newest = {point.name: point.value for point in metrics}
    return "  ".join(f"{name} {newest[name]:.3g}" for name in CURVES if name in newest)


def result_line(job: JobInfo) -> str:
    """How a job ended, in one line."""
    verdict = job.result.get("verdict")
    said = f"; the gate says: {verdict}" if verdict else ""
    trouble = f": {job.error}" if job.error else ""
    return f"Retraining {job.id} {job.state}{said}{trouble}"
