"""What a watcher sees of a running service: metrics by the scraper's form, ready or not, and guarded."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.chat_app.conftest import RunningServer, make_settings, start_server


@pytest.fixture(scope="module")
def second_server(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, sqlite_template: Path
) -> Iterator[RunningServer]:
    data_dir = tmp_path_factory.mktemp("second")
    shutil.copy(sqlite_template, data_dir / "rapport.db")
    running, stop = start_server(make_settings(data_dir, tiny_model))
    yield running
    stop()


def value_of(answer: httpx.Response, name: str) -> float:
    families = text_string_to_metric_families(answer.text)
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def test_the_metrics_of_two_services_in_one_process_are_their_own(
    client: httpx.Client, second_server: RunningServer
) -> None:
    assert client.post("/api/chat", json={"text": "Hello!"}).status_code == 200
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert value_of(answer, "rapport_tokens_generated_total") > 0
    assert value_of(answer, "rapport_ready") == 1
    assert value_of(answer, "process_resident_memory_bytes") > 0
    with second_server.client() as second:
        assert value_of(second.get("/metrics"), "rapport_tokens_generated_total") == 0


def test_a_scraper_that_asks_for_openmetrics_gets_it(client: httpx.Client) -> None:
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/healthz"])
def test_watchers_pass_the_same_guard_as_everybody(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert client.get(path, headers={"x-forwarded-for": "8.8.8.8"}).status_code == 403
    assert client.get(path, headers={"origin": "http://evil.example"}).status_code == 403


def test_a_service_that_stops_is_alive_but_not_ready(second_server: RunningServer) -> None:
    with second_server.client() as client:
        assert client.get("/readyz").status_code == 200
        second_server.container.engine.stop()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "The service is shutting down.")
        assert client.get("/healthz").status_code == 200
        assert value_of(client.get("/metrics"), "rapport_ready") == 0
