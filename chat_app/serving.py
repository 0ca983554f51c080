"""The web server, which says where it is once it answers, and stops without waiting for open streams."""

import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from chat_app.container import Container
from feedback.dataset import count_comparisons


class AnnouncedServer(uvicorn.Server):
    """uvicorn with a line for people at the start."""

    def __init__(self, app: FastAPI, *, address: str, grace_seconds: int) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=grace_seconds,
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
    settings: Any = container.records.settings
    model = settings.model or "the bundled model"
    return (
        f"Rapport is at {address} and serves version {serving.name} of {model}; {votes} votes so far. "
        "Ctrl-C stops it."
    )
