"""A worker runs jobs to their end, through crashes of jobs and workers, and cancels within ten seconds."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from db.engine import Database
from db.errors import UnusableDatabaseError
from db.tables import Job
from tests.training.job_bodies import MODULE, pid_of
from training.job_values import JobInfo
from training.jobs import Jobs
from training.launch import LocalLauncher
from training.processes import processes_with_order
from training.registry import Registry
from training.worker import Worker, WorkerSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        models_dir=tmp_path / "models",
        jobs_dir=tmp_path / "jobs",
        snapshots_dir=tmp_path / "snapshots",
        poll_seconds=0.05,
        lease_seconds=3,
    )


@pytest.fixture(autouse=True)
def no_orphans(tmp_path: Path) -> Iterator[None]:
    """Every test must leave no process of its jobs behind."""
    yield
    orphans = processes_with_order(lambda order: str(tmp_path) in order)
    for process in orphans:
        process.kill()
    assert orphans == []


class Running:
    """Workers in threads, which all end with the test."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, worker: Worker) -> None:
        thread = threading.Thread(target=worker.run_forever, args=(self.stop,))
        self.threads.append(thread)
        thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.end()


def make_worker(database: Database, settings: WorkerSettings, grace_seconds: float = 1.0) -> Worker:
    registry = Registry(database=database, models_dir=settings.models_dir)
    launcher = LocalLauncher(module=MODULE, grace_seconds=grace_seconds)
    return Worker(database=database, registry=registry, settings=settings, launcher=launcher)


def request(database: Database, **config: object) -> int:
    return Jobs(database).request(config=config, requested_by_id=None, snapshot_id=None)


def run_one(database: Database, settings: WorkerSettings, times: int = 1) -> JobInfo:
    worker = make_worker(database, settings)
    for _ in range(times):
        assert worker.work_once(threading.Event())
    return worker.jobs.list()[0]


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_job_runs_to_its_result(database: Database, settings: WorkerSettings) -> None:
    job_id = request(database)

    info = run_one(database, settings)

    assert (info.state, info.result, info.progress) == ("succeeded", {"first": 0, "attempt": 1}, 1.0)
    assert [point.value for point in Jobs(database).metrics(job_id)] == [0.0, 1.0, 2.0, 3.0]
    assert info.error is None


@pytest.mark.parametrize("step", [0, 2])
def test_a_killed_job_goes_on_from_its_checkpoint_without_doubled_points(
    database: Database, settings: WorkerSettings, step: int
) -> None:
    job_id = request(database, die_at=step)

    info = run_one(database, settings, times=2)

    assert (info.state, info.result) == ("succeeded", {"first": step, "attempt": 2})
    points = [(point.step, point.value) for point in Jobs(database).metrics(job_id)]
    assert sorted(points) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert Jobs(database).events(job_id)[0].text == (
        "The training process was killed by signal 9 (SIGKILL). Often that is the system, which was out of "
        "memory. Attempt 2 of 3 goes on from the last checkpoint."
    )


def test_a_job_killed_in_every_attempt_fails_with_the_signal_and_the_phase(
    sqlite_database: Database, settings: WorkerSettings
) -> None:
    request(sqlite_database, die_at=1, deaths=3)

    info = run_one(sqlite_database, settings, times=3)

    assert info.state == "failed"
    assert info.error is not None
    assert "killed by signal 9 (SIGKILL)" in info.error
    assert 'It was attempt 3 of 3 in phase "dying"' in info.error


def test_a_job_that_ends_without_a_word_is_tried_again(
    sqlite_database: Database, settings: WorkerSettings
) -> None:
    job_id = request(sqlite_database, body="leaves")

    assert run_one(sqlite_database, settings).state == "queued"
    assert "ended with exit code 7 and no result" in Jobs(sqlite_database).events(job_id)[0].text


def test_a_failure_is_told_in_a_paragraph_and_its_trace_is_in_the_log(
    sqlite_database: Database, settings: WorkerSettings
) -> None:
    request(sqlite_database, body="fails")

    info = run_one(sqlite_database, settings)

    log = settings.jobs_dir / "job-1" / "log.txt"
    assert (info.state, info.attempt) == ("failed", 1)
    assert info.error == (
        'The job failed in phase "reward": Model version policy-7 cannot be used: the folder is missing '
        "(in /models/policy-7). Bring the file back from a backup, or serve another version. "
        f"The served version is unchanged. The whole output is in {log}."
    )
    assert "Traceback" in log.read_text()


def test_an_error_of_the_program_is_told_without_a_trace(
    sqlite_database: Database, settings: WorkerSettings
) -> None:
    request(sqlite_database, body="overflows")

    error = run_one(sqlite_database, settings).error or ""

    assert error.startswith('The job failed in phase "ppo": ZeroDivisionError: float division by zero.')
    assert "Traceback" not in error


@pytest.mark.parametrize("body", ["waits", "ignores"])
def test_a_cancelled_job_is_dead_within_ten_seconds(
    database: Database, settings: WorkerSettings, tmp_path: Path, body: str, running: Running
) -> None:
    job_id = request(database, body=body)
    jobs = Jobs(database)
    running.start(make_worker(database, settings, grace_seconds=5.0))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))
    began = time.monotonic()

    jobs.request_cancel(job_id)
    wait_for(lambda: jobs.get(job_id).state == "cancelled", seconds=10)

    assert processes_with_order(lambda order: str(tmp_path) in order) == []
    assert time.monotonic() - began < 10


def test_a_stopping_worker_gives_its_job_back(
    sqlite_database: Database, settings: WorkerSettings, running: Running
) -> None:
    job_id = request(sqlite_database, body="waits")
    running.start(make_worker(sqlite_database, settings))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))

    running.end()

    info = Jobs(sqlite_database).get(job_id)
    assert (info.state, info.attempt, info.max_attempts) == ("queued", 1, 4)


def test_a_job_lasts_longer_than_its_lease_because_the_worker_renews_it(
    sqlite_database: Database, settings: WorkerSettings, running: Running
) -> None:
    job_id = request(sqlite_database, body="waits")
    running.start(make_worker(sqlite_database, settings.model_copy(update={"lease_seconds": 0.6})))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))
    running.start(make_worker(sqlite_database, settings))

    time.sleep(1.5)

    info = Jobs(sqlite_database).get(job_id)
    assert (info.state, info.attempt) == ("running", 1)


def test_a_job_whose_lease_was_taken_ends_itself(
    sqlite_database: Database, settings: WorkerSettings, running: Running
) -> None:
    job_id = request(sqlite_database, body="waits")
    running.start(make_worker(sqlite_database, settings))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))
    with sqlite_database.write() as session:
        session.get_one(Job, job_id).fencing_token += 1

    wait_for(lambda: not psutil.pid_exists(pid_of(settings.jobs_dir / "job-1") or 0))

    assert Jobs(sqlite_database).get(job_id).state == "running"


WORK = """
import sys, threading
from db.engine import open_database
from db.settings import DatabaseSettings
from training.launch import LocalLauncher
from training.registry import Registry
from training.worker import Worker, WorkerSettings
url, settings, module = sys.argv[1:]
settings = WorkerSettings.model_validate_json(settings)
database = open_database(DatabaseSettings(url=url))
registry = Registry(database=database, models_dir=settings.models_dir)
launcher = LocalLauncher(module=module)
worker = Worker(database=database, registry=registry, settings=settings, launcher=launcher)
worker.run_forever(threading.Event())
"""


def test_kill_9_of_the_worker_ends_its_job_and_the_next_worker_goes_on_at_once(
    database: Database, database_url: str, settings: WorkerSettings, running: Running
) -> None:
    settings = settings.model_copy(update={"lease_seconds": 600})
    job_id = request(database, body="waits")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORK, database_url, settings.model_dump_json(), MODULE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))
    first = pid_of(settings.jobs_dir / "job-1") or 0

    worker.kill()
    worker.wait()

    wait_for(lambda: not psutil.pid_exists(first))
    running.start(make_worker(database, settings))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1", attempt=2))
    info = Jobs(database).get(job_id)
    assert (info.state, info.attempt) == ("running", 2)


@pytest.fixture
def hanging_worker(
    sqlite_database: Database, sqlite_url: str, settings: WorkerSettings
) -> Iterator[Callable[[int], int]]:
    """Starts a deaf job with so many attempts, freezes its worker, and returns the job's process."""
    started = []

    def start(max_attempts: int) -> int:
        Jobs(sqlite_database).request(
            config={"body": "ignores"}, requested_by_id=None, snapshot_id=None, max_attempts=max_attempts
        )
        worker = subprocess.Popen(
            [sys.executable, "-c", WORK, sqlite_url, settings.model_dump_json(), MODULE],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(worker)
        wait_for(lambda: pid_of(settings.jobs_dir / "job-1"))
        worker.send_signal(signal.SIGSTOP)
        return pid_of(settings.jobs_dir / "job-1") or 0

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def has_ended(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # its stopped parent cannot collect it


def test_a_job_left_alive_by_a_hanging_worker_is_ended_before_the_next_attempt(
    hanging_worker: Callable[[int], int],
    sqlite_database: Database,
    settings: WorkerSettings,
    running: Running,
) -> None:
    first = hanging_worker(2)

    running.start(make_worker(sqlite_database, settings))
    wait_for(lambda: pid_of(settings.jobs_dir / "job-1", attempt=2))

    assert has_ended(first)


def test_a_job_left_alive_after_its_last_attempt_is_ended_and_failed(
    hanging_worker: Callable[[int], int],
    sqlite_database: Database,
    settings: WorkerSettings,
    running: Running,
) -> None:
    first = hanging_worker(1)

    running.start(make_worker(sqlite_database, settings))
    wait_for(lambda: has_ended(first))

    info = Jobs(sqlite_database).get(1)
    assert info.state == "failed"
    assert "The worker that ran the job is gone." in (info.error or "")


def test_several_workers_share_the_jobs_without_doing_one_twice(
    database: Database, settings: WorkerSettings, running: Running
) -> None:
    for _ in range(3):
        running.start(make_worker(database, settings))
    jobs = Jobs(database)
    for _ in range(3):
        job_id = request(database)
        wait_for(lambda job_id=job_id: jobs.get(job_id).state == "succeeded")

    assert [(info.state, info.attempt) for info in jobs.list()] == [("succeeded", 1)] * 3


def test_a_process_that_cannot_be_started_is_tried_again_and_then_told(
    sqlite_database: Database, settings: WorkerSettings
) -> None:
    settings.jobs_dir.write_text("a file where the folder should be")
    request(sqlite_database)

    info = run_one(sqlite_database, settings, times=3)

    assert info.state == "failed"
    assert "could not be started ([Errno 20] Not a directory" in (info.error or "")


def test_a_worker_waits_out_trouble_with_the_database(
    sqlite_database: Database, settings: WorkerSettings, caplog: pytest.LogCaptureFixture, running: Running
) -> None:
    worker = make_worker(sqlite_database, settings.model_copy(update={"lease_seconds": 0.3}))
    job_id = request(sqlite_database)
    claim, refused = worker.jobs.claim, threading.Event()

    def claim_on_the_second_call(owner: str) -> object:
        if not refused.is_set():
            refused.set()
            raise UnusableDatabaseError("The database has no room left. Free space on its disk.")
        return claim(owner)

    worker.jobs.claim = claim_on_the_second_call  # type: ignore[method-assign,assignment]
    running.start(worker)
    wait_for(lambda: worker.jobs.get(job_id).state == "succeeded")

    assert "The worker waits: The database has no room left. Free space on its disk." in caplog.messages


def test_a_starting_worker_removes_what_a_crash_left_of_a_model(
    sqlite_database: Database, settings: WorkerSettings, running: Running
) -> None:
    lost = settings.models_dir / "policy-0123456789ab"
    lost.mkdir(parents=True)

    running.start(make_worker(sqlite_database, settings))
    wait_for(lambda: not lost.exists())
