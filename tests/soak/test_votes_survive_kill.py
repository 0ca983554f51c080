"""Kills the service with SIGKILL while people vote, again and again, and counts what was acknowledged."""

import os
import random
import threading
import time
import uuid
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from benchmarks.service import Service, running_service
from db.engine import open_database, sqlite_module
from db.settings import DatabaseSettings
from db.tables import Preference
from tests.tiny_model import make_tiny_model

KILLS = int(os.environ.get("KILLS", "20"))
VOTERS = 4


@pytest.mark.soak
def test_no_acknowledged_vote_is_lost_when_the_service_is_killed(tmp_path: Path) -> None:
    model, data = make_tiny_model(tmp_path / "model"), tmp_path / "data"
    acknowledged: set[str] = set()
    chance = random.Random(0)
    for _ in range(KILLS):
        with running_service(data, model=str(model), worker="false", decoding__max_new_tokens="8") as service:
            voters = [
                threading.Thread(target=vote_until_it_dies, args=(service, acknowledged))
                for _ in range(VOTERS)
            ]
            for voter in voters:
                voter.start()
            time.sleep(chance.uniform(0.5, 3))
            service.kill()
            for voter in voters:
                voter.join()

    assert len(acknowledged) > KILLS
    assert acknowledged <= stored_keys(data)
    assert integrity(data) == "ok"


def vote_until_it_dies(service: Service, acknowledged: set[str]) -> None:
    try:
        with httpx.Client(base_url=service.url, timeout=30) as client:
            while True:
                comparison = client.post("/api/comparisons", json={}).raise_for_status().json()
                key = str(uuid.uuid4())
                client.post(
                    f"/api/comparisons/{comparison['id']}/vote",
                    json={"choice": "left"},
                    headers={"Idempotency-Key": key},
                ).raise_for_status()
                acknowledged.add(key)
    except httpx.TransportError:
        return


def stored_keys(data: Path) -> set[str]:
    database = open_database(DatabaseSettings(url=f"sqlite:///{data / 'rapport.db'}"))
    with database.read() as session:
        keys = set(session.scalars(select(Preference.idempotency_key)))
    database.dispose()
    return keys


def integrity(data: Path) -> str:
    connection = sqlite_module().connect(str(data / "rapport.db"))
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
