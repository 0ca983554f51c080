import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from chat_app.inference.watcher import ServingWatcher
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually


@dataclass
class Version:
    id: int


class Registry:
    """What the watcher sees of the registry: which version is being served."""

    def __init__(self) -> None:
        self.version_id = 1
        self.looks = 0
        self.error: Exception | None = None

    def serving(self) -> Version:
        self.looks += 1
        if self.error:
            raise self.error
        return Version(self.version_id)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def watched(start_engine: StartEngine, registry: Registry) -> Iterator[StartEngine]:
    watchers: list[ServingWatcher] = []

    def start(**settings: object):  # type: ignore[no-untyped-def]
        engine = start_engine(**settings)
        watchers.append(ServingWatcher(engine=engine, registry=registry, poll_seconds=0.05))
        watchers[-1].start()
        return engine

    yield start
    for watcher in watchers:
        watcher.stop()


def test_a_promotion_is_served_within_a_second(watched: StartEngine, registry: Registry) -> None:
    engine = watched()
    registry.version_id = 2
    eventually(lambda: engine.serving_version_id == 2, seconds=1)


def test_a_broken_version_is_reported_once_and_not_tried_at_every_look(
    watched: StartEngine, registry: Registry, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    engine = watched()
    versions.folders.pop(2)
    with caplog.at_level(logging.ERROR, logger="chat_app.inference"):
        registry.version_id = 2
        looks = registry.looks
        eventually(lambda: registry.looks > looks + 5)
    reports = [record for record in caplog.records if record.name.endswith("watcher")]
    attempts = [record for record in caplog.records if record.name.endswith("versions")]
    assert len(reports) == len(attempts) == 1
    assert engine.serving_version_id == 1
    registry.version_id = 1  # rolled back
    looks = registry.looks
    eventually(lambda: registry.looks > looks + 1)
    assert engine.serving_version_id == 1


def test_trouble_with_the_database_passes(
    watched: StartEngine, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    engine = watched()
    registry.error = RuntimeError("the database is away")
    eventually(lambda: "the database is away" in caplog.text)
    time.sleep(0.2)
    assert caplog.text.count("Cannot follow the served version") == 1
    registry.error, registry.version_id = None, 2
    eventually(lambda: engine.serving_version_id == 2, seconds=1)
