"""The schedule retrains every N new comparisons or by a cron line, and remembers only the jobs' rows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from db.engine import Database
from db.tables import Job
from tests.factories import make_version
from tests.training.test_request import SETTINGS, vote
from training.jobs import Jobs
from training.registry import Registry
from training.request import request_retraining
from training.schedule import Schedule, ScheduleSettings

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


class Clock:
    """A clock that stands until it is moved; cron lines are in local time, so tests use hourly ones."""

    def __init__(self, time: datetime) -> None:
        self.time = time

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    with sqlite_database.write() as session:
        make_version(session=session, name="sft", state="serving")
    return sqlite_database


@pytest.fixture
def request_job(database: Database, tmp_path: Path) -> Callable[[str], int]:
    def request(reason: str) -> int:
        return request_retraining(
            database=database,
            registry=Registry(database=database, models_dir=tmp_path / "models"),
            jobs=Jobs(database),
            settings=SETTINGS,
            snapshots_dir=tmp_path / "snapshots",
            requested_by_id=None,
            reason=reason,
        )

    return request


def make_schedule(
    database: Database, request_job: Callable[[str], int], clock: Clock | None = None, **settings: object
) -> Schedule:
    return Schedule(
        database=database,
        settings=ScheduleSettings.model_validate(settings),
        request=request_job,
        now=clock or Clock(NOON),
    )


def end_job(database: Database, at: datetime | None = None) -> None:
    """Let the active job fail; `at` is when it shall have been asked for."""
    jobs = Jobs(database)
    claimed = jobs.claim("worker")
    assert claimed is not None
    jobs.finish(claimed, "failed", error="It did not work.")
    if at is not None:
        with database.write() as session:
            session.get_one(Job, claimed.job_id).created_at = at


def test_it_is_off_by_default(database: Database, request_job: Callable[[str], int]) -> None:
    vote(database, 50)

    assert make_schedule(database, request_job).tick() is None


def test_it_retrains_every_n_new_comparisons(database: Database, request_job: Callable[[str], int]) -> None:
    schedule = make_schedule(database, request_job, retrain_every=4)
    vote(database, 3)
    assert schedule.tick() is None

    vote(database, 1)
    job_id = schedule.tick()

    assert job_id is not None
    info = Jobs(database).get(job_id)
    assert (info.state, info.requested_by) == ("queued", "the schedule")
    assert Jobs(database).events(job_id)[0].text == ("Asked for: 4 new comparisons (retrain_every is 4).")


def test_it_counts_from_the_last_snapshot_also_after_a_failure_and_a_restart(
    database: Database, request_job: Callable[[str], int]
) -> None:
    vote(database, 4)
    assert make_schedule(database, request_job, retrain_every=4).tick() is not None
    end_job(database)
    vote(database, 3)

    restarted = make_schedule(database, request_job, retrain_every=4)
    assert restarted.tick() is None
    vote(database, 1)
    assert restarted.tick() is not None


def test_an_active_job_is_waited_for_without_an_error(
    database: Database, request_job: Callable[[str], int]
) -> None:
    schedule = make_schedule(database, request_job, retrain_every=4)
    vote(database, 4)
    schedule.tick()
    vote(database, 4)

    assert schedule.tick() is None
    end_job(database)
    assert schedule.tick() is not None


def test_too_few_comparisons_are_waited_for_without_an_error(
    database: Database, request_job: Callable[[str], int]
) -> None:
    schedule = make_schedule(database, request_job, retrain_every=2)
    vote(database, 2)

    assert schedule.tick() is None
    vote(database, 1)
    assert schedule.tick() is not None


def test_a_cron_line_retrains_once_per_time_when_there_are_new_comparisons(
    database: Database, request_job: Callable[[str], int]
) -> None:
    clock = Clock(NOON + timedelta(minutes=10))
    schedule = make_schedule(database, request_job, clock, retrain_cron="0 * * * *")
    vote(database, 3)
    assert schedule.tick() is None

    clock.time = NOON + timedelta(minutes=61)
    assert schedule.tick() is not None
    end_job(database, at=clock.time)
    vote(database, 1)
    assert schedule.tick() is None

    clock.time = NOON + timedelta(minutes=121)
    assert schedule.tick() is not None
    end_job(database, at=clock.time)
    clock.time = NOON + timedelta(minutes=181)
    assert schedule.tick() is None


def test_a_cron_time_that_passed_while_no_worker_ran_is_made_up_for(
    database: Database, request_job: Callable[[str], int]
) -> None:
    vote(database, 3)
    request_job("the button")
    end_job(database, at=NOON - timedelta(minutes=90))
    vote(database, 1)

    restarted = make_schedule(
        database, request_job, Clock(NOON + timedelta(minutes=5)), retrain_cron="0 * * * *"
    )

    assert restarted.tick() is not None


def test_a_cron_time_with_too_few_comparisons_is_given_up_until_the_next(
    database: Database, request_job: Callable[[str], int]
) -> None:
    clock = Clock(NOON - timedelta(minutes=10))
    schedule = make_schedule(database, request_job, clock, retrain_cron="0 * * * *")
    vote(database, 1)
    clock.time = NOON + timedelta(minutes=1)
    assert schedule.tick() is None

    vote(database, 5)
    assert schedule.tick() is None
    clock.time = NOON + timedelta(minutes=61)
    assert schedule.tick() is not None


@pytest.mark.parametrize("line", ["every day", "0 3 * *", "99 3 * * *"])
def test_a_line_that_is_no_cron_line_is_refused_with_an_example(line: str) -> None:
    with pytest.raises(ValidationError, match=r"is no cron line\. Give five fields"):
        ScheduleSettings(retrain_cron=line)
