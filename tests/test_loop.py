"""The loop, end to end, on a tiny model: votes over HTTP, a retraining by a real worker, a better version served."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chat_app.conftest import RunningServer, make_settings, start_server
from tests.tiny_model import make_tiny_model
from training.labellers import LABELLERS
from training.simulate import SimulationPlan, connect, simulate


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A service with a worker beside it."""
    model = make_tiny_model(tmp_path / "model")
    running, stop = start_server(make_settings(tmp_path / "data", model, worker=True))
    yield running
    stop()


def wait_until(is_so: Callable[[], Any], seconds: float) -> float:
    """Wait for a condition; return how long it took."""
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > seconds:
            pytest.fail(f"Not within {seconds} s.")
        time.sleep(0.1)
    return time.monotonic() - began


def job_of(client: httpx.Client, job_id: int) -> dict[str, Any]:
    job: dict[str, Any] = client.get(f"/api/retrainings/{job_id}").json()["job"]
    return job


@pytest.mark.slow
def test_votes_become_a_version_that_answers(server: RunningServer) -> None:
    with server.client() as client, connect(server.url) as labeller:
        plan = SimulationPlan(comparisons=8, noise=0.0, concurrency=2)
        assert simulate(client=labeller, labeller=LABELLERS["brief"], plan=plan).votes == 8
        job_id = client.post("/api/retrainings", json={}).json()["job_id"]
        wait_until(lambda: job_of(client, job_id)["state"] not in ("queued", "running"), 240)
        job = job_of(client, job_id)
        assert job["state"] == "succeeded", job["error"]
        assert job["result"]["verdict"] == "not enough evidence"
        policy, reward, sft = client.get("/api/versions").json()
        assert [version["kind"] for version in (policy, reward, sft)] == ["policy", "reward", "sft"]
        assert (policy["anchor_id"], policy["reward_id"], policy["job_id"]) == (
            sft["id"],
            reward["id"],
            job_id,
        )
        assert client.post(f"/api/versions/{policy['id']}/promote", json={}).status_code == 409
        promoted = client.post(f"/api/versions/{policy['id']}/promote", json={"reason": "a test of the loop"})
        assert promoted.json()["state"] == "serving"
        wait_until(lambda: client.get("/readyz").json().get("version_id") == policy["id"], 10)
        answered = client.post("/api/chat", json={"text": "Hello!"}).text
        assert f'"version_name": "{policy["name"]}"' in answered
        assert client.post("/api/versions/roll-back").json()["id"] == sft["id"]
