"""`rapport retrain`: freezes the votes, queues a retraining, and follows it if asked to."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Annotated, Any

import typer

from chat_app.commands.follow import follow
from chat_app.errors import InvalidInput, StartFailed
from chat_app.settings import load_settings
from chat_app.worker_sign import WorkerSign


def retrain(
    preset: Annotated[
        str | None, typer.Option(help="tiny, quick, standard or thorough (RAPPORT_PRESET).")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, as ppo.updates=8; repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end.")] = False,
    here: Annotated[
        bool, typer.Option("--here", help="Train in this terminal; no worker is needed. Implies --wait.")
    ] = False,
) -> None:
    """Retrain on the votes so far: reward model, PPO, gate, and promotion if it passes."""
    from chat_app.records import open_records
    from chat_app.services.retraining import RetrainingService

    settings = load_settings()
    records = open_records(settings)
    service = RetrainingService(
        database=records.database, registry=records.registry, jobs=records.jobs, settings=settings
    )
    job_id = service.start(records.you, preset, parsed_changes(change or []))
    typer.echo(f"Retraining {job_id} is queued.")
    if not here and not WorkerSign(settings.data_dir).is_fresh():
        typer.echo(
            "No worker lives, so it waits until one does. Start `rapport serve` or `rapport worker`, "
            "or train in this terminal: rapport retrain --here.",
            err=True,
        )
    if here:
        with worker_thread(records):
            job = follow(service, records.you, job_id)
    elif wait:
        job = follow(service, records.you, job_id)
    else:
        typer.echo(f"Follow it on the Train page, or with: rapport jobs show {job_id} --wait")
        return
    if job.state != "succeeded":
        raise StartFailed(f"Retraining {job_id} {job.state}. {job.error or ''}".strip())


def parsed_changes(changes: list[str]) -> dict[str, Any]:
    """Turn ["ppo.updates=8"] into {"ppo": {"updates": "8"}}. Raises InvalidInput."""
    tree: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f'--set "{change}" is no change.', "Write name=value, as ppo.updates=8.")
        *folders, leaf = name.strip().split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[leaf] = value.strip()
    return tree


@contextmanager
def worker_thread(records: Any) -> Iterator[None]:
    """Run a worker inside this process as long as the block lasts."""
    from training.worker import Worker

    stop = Event()
    worker = Worker(
        database=records.database,
        registry=records.registry,
        settings=records.settings.worker_settings(),
    )
    thread = Thread(target=worker.run_forever, args=(stop,), name="worker")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
