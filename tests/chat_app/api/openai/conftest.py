"""The real client of OpenAI's API, and a server on loopback that answers steadily and may be made slow."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI
from sqlalchemy import select

from db.tables import Completion, CompletionRequest
from tests.chat_app.conftest import RunningServer, make_settings, start_server

HELLO = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, steady_model: Path, sqlite_template: Path
) -> Iterator[RunningServer]:
    """A server whose model, decoded greedily, answers "Hello!" with a hundred tokens."""
    data_dir = tmp_path_factory.mktemp("server")
    shutil.copy(sqlite_template, data_dir / "rapport.db")
    limits = {"drain_seconds": 0.5, "max_batch": 4, "max_queue": 4, "precision": "float32"}
    running, stop = start_server(make_settings(data_dir, steady_model, inference=limits))
    yield running
    stop()


@pytest.fixture(scope="module")
def openai_client(server: RunningServer) -> Iterator[OpenAI]:
    """A client that asks once: what is refused is not tried again."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        yield client


def ask(client: OpenAI, **fields: Any) -> Any:
    """Ask for a greedy answer to "Hello!", unless told otherwise."""
    given: dict[str, Any] = {"model": "rapport", "messages": HELLO, "temperature": 0, **fields}
    return client.chat.completions.create(**given)


def refused(client: httpx.Client, status: int, body: Any, **headers: str) -> dict[str, Any]:
    """Post a body that must be refused, check the form of the error and return it."""
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = client.post(
        "/v1/chat/completions", headers={"content-type": "application/json", **headers}, **content
    )
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def stored(server: RunningServer, public_id: str) -> list[Completion]:
    """Read the answers that are kept under a response's id."""
    with server.container.database.read() as session:
        query = select(CompletionRequest).where(CompletionRequest.public_id == public_id)
        request = session.scalars(query).one_or_none()
        return [] if request is None else [answer.completion for answer in request.answers]


@contextmanager
def slowed(server: RunningServer, seconds: float) -> Iterator[None]:
    """Let each token take some time."""
    serving: Any = server.container.engine._shelf.serving
    batch = serving.result().batch
    step: Callable[[], Any] = batch.step

    def slow_step() -> Any:
        time.sleep(seconds)
        return step()

    batch.step = slow_step
    try:
        yield
    finally:
        del batch.step
