"""`rapport serve`: the service itself, from the checks before the start to the last stored answer."""

import asyncio
import errno
import socket
from contextlib import suppress
from typing import Annotated

import typer

from chat_app.commands.data_folder import prepare_data_dir
from chat_app.errors import StartFailed
from chat_app.settings import Settings, load_settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (RAPPORT_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one (RAPPORT_PORT).")] = None,
    worker: Annotated[
        bool | None, typer.Option("--worker/--no-worker", help="Train beside the app (RAPPORT_WORKER).")
    ] = None,
) -> None:
    """Chat, compare and train in the browser: start the service."""
    settings = load_settings(host=host, port=port, worker=worker)
    prepare_data_dir(settings)
    with listen(settings) as listener, suppress(KeyboardInterrupt):
        from chat_app.serving import run_app

        asyncio.run(run_app(settings, listener, address_of(listener, settings)))


def listen(settings: Settings) -> socket.socket:
    """Take the port first, so that a port in use is told at once. Raises StartFailed."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise StartFailed(_bind_trouble(error, settings)) from error
    return listener


def address_of(listener: socket.socket, settings: Settings) -> str:
    """The address to open in a browser."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"


def _bind_trouble(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {settings.port} of {settings.host} is in use, perhaps by another Rapport. "
            f"Stop that one, or take another port: rapport serve --port {settings.port + 1}."
        )
    if error.errno == errno.EACCES:
        return f"Port {settings.port} needs more rights than you have. Take one from 1024 up with --port."
    return (
        f"Cannot listen on {settings.host} ({error.strerror or error}). "
        "Use 127.0.0.1, or an address of this machine, as RAPPORT_HOST."
    )
