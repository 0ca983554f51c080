"""A whole service on a tiny real model: its parts for tests of the services, and a server on loopback."""

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from chat_app.app import create_app
from chat_app.container import Container, Services, assemble
from chat_app.records import open_records
from chat_app.serving import AnnouncedServer
from chat_app.settings import Settings
from tests.tiny_model import make_tiny_model

Value = TypeVar("Value")


def collect(events: AsyncIterator[Value]) -> list[Value]:
    """Run an event stream to its end in an event loop of its own."""

    async def run() -> list[Value]:
        return [event async for event in events]

    return asyncio.run(run())


def run(work: Callable[[], Awaitable[Value]]) -> Value:
    """Run a coroutine function in an event loop of its own."""

    async def body() -> Value:
        return await work()

    return asyncio.run(body())


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def steady_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that, decoded greedily, answers "Hello!" with a hundred tokens and never ends itself."""
    return make_tiny_model(tmp_path_factory.mktemp("steady") / "model", architecture="llama")


def make_settings(data_dir: Path, model: Path, **changes: Any) -> Settings:
    """Settings of a service that is fast enough for tests."""
    values: dict[str, Any] = {
        "model": str(model),
        "data_dir": data_dir,
        "worker": False,
        "port": 0,
        "decoding": {"max_new_tokens": 12},
        "preset": "tiny",
        "inference": {"drain_seconds": 0.5},
    }
    return Settings(**{**values, **changes})


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path, sqlite_template: Path) -> Settings:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    shutil.copy(sqlite_template, data_dir / "rapport.db")
    return make_settings(data_dir, tiny_model)


@pytest.fixture
def container(settings: Settings) -> Iterator[Container]:
    """The parts of a service whose engine runs."""
    container = assemble(open_records(settings))
    container.engine.start()
    container.engine.serve_version(container.records.registry.serving().id)
    yield container
    container.engine.stop()
    container.database.dispose()


@pytest.fixture
def services(container: Container) -> Services:
    return container.services


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server on loopback in a thread, and the container in it."""

    url: str
    container: Container

    def client(self, **options: Any) -> httpx.Client:
        """A client that talks to it directly."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **options)


def start_server(settings: Settings) -> tuple[RunningServer, Callable[[], None]]:
    """Start a server, wait until it answers, and return it with what stops it."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    made: list[AnnouncedServer] = []

    async def serve() -> None:
        made.append(AnnouncedServer(create_app(settings), address=url))
        await made[0].serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    deadline = time.monotonic() + 60
    while not (made and made[0].started) and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)

    def stop() -> None:
        made[0].should_exit = True
        thread.join()
        listener.close()

    if not (made and made[0].started):
        pytest.fail("The server did not start.")
    app: Any = made[0].config.app
    return RunningServer(url, app.state.container), stop


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, sqlite_template: Path
) -> Iterator[RunningServer]:
    """A server that the tests of one file share."""
    data_dir = tmp_path_factory.mktemp("server")
    shutil.copy(sqlite_template, data_dir / "rapport.db")
    running, stop = start_server(make_settings(data_dir, tiny_model))
    yield running
    stop()


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
