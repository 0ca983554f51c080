"""`rapport doctor`: looks at what the service needs and says what is missing or wrong, and what to do."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import typer

from chat_app.commands.failures import explain
from chat_app.errors import StartFailed
from chat_app.settings import Settings, load_settings

FREE_BYTES = 500_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what is there, and what to do when it is not right."""

    name: str
    found: str
    trouble: str = ""


def doctor() -> None:
    """Look at Python, libraries, disk, database, model, port and compiler."""
    settings = load_settings()
    troubles = 0
    for finding in examine(settings):
        troubles += bool(finding.trouble)
        typer.echo(f"{'!' if finding.trouble else '✓'} {finding.name:<9} {finding.found}")
        if finding.trouble:
            typer.echo(f"            {finding.trouble}")
    if troubles:
        raise StartFailed(f"{troubles} of these need attention.")
    typer.echo("Everything is in order.")


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one thing after the other; a failure in one does not hide the next."""
    checks: dict[str, Callable[[Settings], Finding]] = {
        "python": _python,
        "torch": _torch,
        "sqlite": _sqlite,
        "data": _data,
        "database": _database,
        "model": _model,
        "port": _port,
        "compiler": _compiler,
    }
    for name, check in checks.items():
        try:
            yield check(settings)
        except Exception as error:  # whatever a check meets is what the doctor is for
            yield Finding(name, type(error).__name__, explain(error) or str(error))


def _python(_settings: Settings) -> Finding:
    return Finding("python", f"{sys.version.split()[0]} at {sys.executable}")


def _torch(_settings: Settings) -> Finding:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return Finding("torch", f"{torch.__version__}, {device}, {torch.get_num_threads()} threads")


def _sqlite(_settings: Settings) -> Finding:
    from db.engine import SAFE_SQLITE, sqlite_module

    found = sqlite_module().sqlite_version_info
    wanted = ".".join(map(str, SAFE_SQLITE))
    trouble = f"Versions before {wanted} can damage a database: pip install pysqlite3, or use PostgreSQL."
    return Finding("sqlite", ".".join(map(str, found)), trouble if found < SAFE_SQLITE else "")


def _data(settings: Settings) -> Finding:
    from chat_app.commands.data_folder import prepare_data_dir

    free = shutil.disk_usage(prepare_data_dir(settings)).free
    trouble = f"Less than {FREE_BYTES / 1e9:.1f} GB: model versions and backups may not fit. Free space."
    return Finding(
        "data", f"{settings.data_dir}, {free / 1e9:.1f} GB free", trouble if free < FREE_BYTES else ""
    )


def _database(settings: Settings) -> Finding:
    from sqlalchemy import text

    from db.engine import open_database

    database = open_database(settings.database)
    with database.read() as session:
        session.execute(text("SELECT 1"))
    database.dispose()
    return Finding("database", f"{database} answers")


def _model(settings: Settings) -> Finding:
    from training.base_model import find_source
    from training.loading import load_language_model

    source = find_source(settings.model)
    if source.folder is None:
        return Finding("model", f"{settings.model} is fetched from the hub when the service starts")
    loaded = load_language_model(source.folder)
    millions = sum(parameter.numel() for parameter in loaded.model.parameters()) / 1e6
    return Finding("model", f"{source.name} loads: {millions:.1f}M parameters")


def _port(settings: Settings) -> Finding:
    from chat_app.commands.serve import listen

    try:
        listen(settings).close()
    except StartFailed as error:
        return Finding("port", f"{settings.port} is not free", str(error))
    return Finding("port", f"{settings.port} of {socket.gethostname()} ({settings.host}) is free")


def _compiler(_settings: Settings) -> Finding:
    from training.numerics import find_compiler

    compiler = find_compiler("cpu")
    return Finding(
        "compiler", compiler or "none; pretraining runs without torch.compile (g++ makes it faster)"
    )
