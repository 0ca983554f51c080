"""`rapport worker`: works through training jobs, beside the app or alone."""

import logging
import signal
import sys
from threading import Event, Thread
from typing import Annotated

import typer

from chat_app.errors import StartFailed
from chat_app.settings import load_settings
from chat_app.worker_sign import WorkerSign


def worker(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether a worker lives.")] = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Train: take queued retrainings one after the other until stopped."""
    settings = load_settings()
    sign = WorkerSign(settings.data_dir)
    if check:
        _check(sign)
        return
    from chat_app.commands.data_folder import prepare_data_dir
    from chat_app.records import open_records
    from training.worker import Worker

    prepare_data_dir(settings)
    records = open_records(settings)
    stop = Event()
    _stop_on_signals(stop)
    if until_stdin_closes:
        Thread(target=_wait_for_end_of_input, args=(stop,), name="parent-watch", daemon=True).start()
    Thread(target=sign.keep_fresh, args=(stop,), name="worker-sign").start()
    logging.getLogger(__name__).info("The training worker waits for jobs.")
    Worker(
        database=records.database, registry=records.registry, settings=settings.worker_settings()
    ).run_forever(stop)


def _check(sign: WorkerSign) -> None:
    if not sign.is_fresh():
        raise StartFailed("No worker has given a sign of life for 20 s. Start one: rapport worker.")
    typer.echo("A worker lives.")


def _stop_on_signals(stop: Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def _wait_for_end_of_input(stop: Event) -> None:
    """The app holds the other end of our standard input; when it is gone, however it went, input ends."""
    sys.stdin.buffer.read()
    stop.set()
