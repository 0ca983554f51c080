"""`rapport jobs`: lists retrainings, shows one, cancels one."""

from datetime import datetime
from typing import Annotated, Any

import typer

from chat_app.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Retrainings: list, show, cancel.")

JobId = Annotated[int, typer.Argument(help="The number of the retraining.", min=1)]


@app.command("list")
def list_jobs(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20) -> None:
    """List the newest retrainings first."""
    records, service = _service()
    jobs = service.recent(records.you, limit)
    if not jobs:
        typer.echo("There has been no retraining yet. Start one: rapport retrain.")
    for job in jobs:
        verdict = job.result.get("verdict", "")
        typer.echo(
            f"{job.id:>5}  {job.state:<10} {job.progress:4.0%}  {moment(job.created_at)}  "
            f"by {job.requested_by:<12} {job.phase:<12} {verdict}".rstrip()
        )


@app.command("show")
def show_job(
    job_id: JobId, wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False
) -> None:
    """Show a retraining with its log."""
    from chat_app.commands.follow import follow, result_line

    records, service = _service()
    if wait:
        follow(service, records.you, job_id)
        return
    view = service.follow(records.you, job_id)
    for event in view.events:
        typer.echo(f"{moment(event.created_at)}  {event.text}")
    typer.echo(result_line(view.job))


@app.command("cancel")
def cancel_job(job_id: JobId) -> None:
    """Ask a retraining to end; it does within ten seconds."""
    records, service = _service()
    job = service.cancel(records.you, job_id)
    typer.echo(f"Retraining {job_id} is {'being cancelled' if job.is_active else job.state}.")


def moment(time: datetime) -> str:
    """A moment in this machine's time."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _service() -> tuple[Any, Any]:
    from chat_app.records import open_records
    from chat_app.services.retraining import RetrainingService

    settings = load_settings()
    records = open_records(settings)
    service = RetrainingService(
        database=records.database, registry=records.registry, jobs=records.jobs, settings=settings
    )
    return records, service
