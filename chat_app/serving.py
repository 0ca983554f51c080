"""The web server, which says where it is once it answers, and stops without waiting for open streams."""

import socket

import uvicorn
from fastapi import FastAPI

from chat_app.app import create_app
from chat_app.container import Container
from chat_app.settings import Settings
from feedback.dataset import count_comparisons

GRACE_SECONDS = 3


async def run_app(settings: Settings, listener: socket.socket, address: str) -> None:
    """Serve on a listening socket until a signal comes. Raises what `create_app` and the start raise.

    The app is made inside the running event loop: outside of one Gradio makes, and leaks, a loop for each of
    its locks.
    """
    app = create_app(settings)
    app.state.runtime.start()
    await AnnouncedServer(app, address=address).serve(sockets=[listener])


class AnnouncedServer(uvicorn.Server):
    """uvicorn with a line for people at the start."""

    def __init__(self, app: FastAPI, *, address: str) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._address = address
        self._container: Container = app.state.container

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say where."""
        await super().startup(sockets)
        if not self.should_exit:
            print(announcement(self._container, self._address), flush=True)


def announcement(container: Container, address: str) -> str:
    """One line: the address, what answers, and how many votes there are."""
    serving = container.records.registry.serving()
    with container.database.read() as session:
        votes = count_comparisons(session=session)
    model = container.records.settings.model or "the bundled model"
    return (
        f"Rapport is at {address} and serves version {serving.name} of {model}; {votes} votes so far. "
        "Ctrl-C stops it."
    )
