"""The real client of OpenAI's API, and a server on loopback whose model is decoded greedily in tests that need it."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.chat_app.conftest import RunningServer


@pytest.fixture(scope="module")
def openai_client(server: RunningServer) -> Iterator[OpenAI]:
    """A client that asks once: a refusal is not tried again."""
    with OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
        yield client
