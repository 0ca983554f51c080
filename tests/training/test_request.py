"""A retraining is asked for once, with enough to learn from, on a snapshot of what was voted by then."""

import threading
from pathlib import Path

import pytest

from db.engine import Database
from db.tables import AuditEvent, Snapshot
from tests.factories import make_comparison, make_user, make_version, make_vote
from training.errors import JobAlreadyActive, NothingServing, TooFewComparisons
from training.jobs import Jobs
from training.registry import Registry
from training.request import request_retraining
from training.settings import TrainingSettings

SETTINGS = TrainingSettings(min_comparisons=3)


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    with database.write() as session:
        make_version(session=session, name="sft", state="serving")
    return Registry(database=database, models_dir=tmp_path / "models")


def vote(database: Database, count: int) -> int:
    """Votes of a new person, whose id is returned."""
    with database.write() as session:
        user = make_user(session=session)
        for number in range(count):
            comparison = make_comparison(session=session, user_id=user.id, prompt=f"Question {number}?")
            make_vote(session=session, comparison=comparison)
        return user.id


def request(registry: Registry, tmp_path: Path, user_id: int | None = None) -> int:
    return request_retraining(
        database=registry.database,
        registry=registry,
        jobs=Jobs(registry.database),
        settings=SETTINGS,
        snapshots_dir=tmp_path / "snapshots",
        requested_by_id=user_id,
        reason="the button",
    )


def test_a_retraining_waits_with_its_settings_and_a_snapshot_of_the_votes(
    registry: Registry, tmp_path: Path
) -> None:
    user_id = vote(registry.database, 3)

    job_id = request(registry, tmp_path, user_id)

    info = Jobs(registry.database).get(job_id)
    assert (info.kind, info.state, info.requested_by_id) == ("retrain", "queued", user_id)
    assert TrainingSettings.model_validate(info.config) == SETTINGS
    with registry.database.read() as session:
        snapshot = session.get_one(Snapshot, info.snapshot_id)
        audit = session.query(AuditEvent).one()
    assert snapshot.counts["comparisons"] == 3
    assert Path(snapshot.path).read_text().count("\n") == 3
    assert (audit.user_id, audit.action, audit.subject) == (user_id, "retrain", f"job {job_id}")
    assert audit.detail == {"reason": "the button", "snapshot": snapshot.id, "serving": "sft"}


def test_too_few_comparisons_are_refused_with_the_remedy(registry: Registry, tmp_path: Path) -> None:
    vote(registry.database, 2)

    with pytest.raises(TooFewComparisons) as raised:
        request(registry, tmp_path)

    assert str(raised.value) == (
        "There are 2 comparisons; retraining needs at least 3. "
        "Collect more, or lower training.min_comparisons."
    )
    assert raised.value.facts == {"count": 2, "minimum": 3}
    assert not (tmp_path / "snapshots").exists()
    assert Jobs(registry.database).list() == []


def test_two_requests_at_once_make_one_job_and_one_snapshot(registry: Registry, tmp_path: Path) -> None:
    user_id = vote(registry.database, 3)
    queued: list[int] = []
    refused: list[str] = []
    start = threading.Barrier(2)

    def ask() -> None:
        start.wait()
        try:
            queued.append(request(registry, tmp_path, user_id))
        except JobAlreadyActive as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(queued), len(refused)) == (1, 1)
    assert f"Retraining {queued[0]}, asked for by" in refused[0]
    with registry.database.read() as session:
        assert session.query(Snapshot).count() == 1


def test_a_refused_request_freezes_nothing(registry: Registry, tmp_path: Path) -> None:
    vote(registry.database, 3)
    request(registry, tmp_path)
    vote(registry.database, 3)

    with pytest.raises(JobAlreadyActive, match="waiting for a worker"):
        request(registry, tmp_path)

    with registry.database.read() as session:
        assert session.query(Snapshot).count() == 1


def test_without_a_serving_version_there_is_nothing_to_retrain(database: Database, tmp_path: Path) -> None:
    vote(database, 3)

    with pytest.raises(NothingServing):
        request(Registry(database=database, models_dir=tmp_path / "models"), tmp_path)
