"""A job's processes are all ended, whatever they do, and none outlives its worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from db.engine import Database
from tests.training.job_bodies import MODULE, pid_of
from training.job_failure import describe_exit, describe_failure
from training.jobs import Jobs
from training.launch import JobOrder, JobProcess, LocalLauncher
from training.processes import is_process_gone, name_of_this_process, processes_with_order

ROOT = Path(__file__).parents[2]


@pytest.fixture
def launcher() -> LocalLauncher:
    return LocalLauncher(module=MODULE, grace_seconds=1.0)


@pytest.fixture
def order(sqlite_url: str, tmp_path: Path) -> Iterator[JobOrder]:
    order = JobOrder(
        job_id=1,
        fencing_token=1,
        database_url=sqlite_url,
        models_dir=tmp_path / "models",
        jobs_dir=tmp_path / "jobs",
        snapshots_dir=tmp_path / "snapshots",
    )
    yield order
    for process in alive(order):
        process.kill()


def alive(order: JobOrder) -> list[psutil.Process]:
    return processes_with_order(lambda text: order.database_url in text)


def start(launcher: LocalLauncher, order: JobOrder, jobs: Jobs, body: str) -> JobProcess:
    jobs.request(config={"body": body}, requested_by_id=None, snapshot_id=None)
    assert jobs.claim("worker") is not None
    process = launcher.start(order, folder=order.jobs_dir / "job-1")
    wait_for(lambda: pid_of(order.jobs_dir / "job-1") is not None)
    return process


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_job_that_hears_is_stopped_within_its_grace(order: JobOrder, sqlite_database: Database) -> None:
    launcher = LocalLauncher(module=MODULE, grace_seconds=20)
    process = start(launcher, order, Jobs(sqlite_database), "waits")

    assert launcher.stop(process)

    assert process.exit_code() == 3
    assert alive(order) == []


def test_a_deaf_job_and_its_grandchild_in_another_session_are_killed(
    launcher: LocalLauncher, order: JobOrder, sqlite_database: Database
) -> None:
    process = start(launcher, order, Jobs(sqlite_database), "ignores")
    wait_for(lambda: len(alive(order)) == 3)
    began = time.monotonic()

    assert launcher.stop(process)

    assert time.monotonic() - began < 10
    assert process.exit_code() == -signal.SIGKILL
    assert alive(order) == []


def test_leftovers_of_earlier_attempts_are_ended_and_later_ones_spared(
    launcher: LocalLauncher, order: JobOrder, sqlite_database: Database
) -> None:
    process = start(launcher, order, Jobs(sqlite_database), "ignores")

    launcher.end_leftovers(job_id=1, last_token=0, database_url=order.database_url)
    launcher.end_leftovers(job_id=2, last_token=9, database_url=order.database_url)
    launcher.end_leftovers(job_id=1, last_token=9, database_url="sqlite:////elsewhere.db")
    assert process.exit_code() is None
    launcher.end_leftovers(job_id=1, last_token=1, database_url=order.database_url)

    assert alive(order) == []
    launcher.stop(process)


START_AND_WAIT = """
import sys, time
from pathlib import Path
from training.launch import JobOrder, LocalLauncher
order = JobOrder.model_validate_json(sys.argv[1])
LocalLauncher(module=sys.argv[2]).start(order, folder=order.jobs_dir / "job-1")
time.sleep(600)
"""


def test_a_job_dies_with_the_process_that_started_it(order: JobOrder, sqlite_database: Database) -> None:
    jobs = Jobs(sqlite_database)
    jobs.request(config={"body": "waits"}, requested_by_id=None, snapshot_id=None)
    jobs.claim("worker")
    parent = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, order.model_dump_json(), MODULE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    wait_for(lambda: pid_of(order.jobs_dir / "job-1") is not None)

    parent.kill()
    parent.wait()

    wait_for(lambda: alive(order) == [])
    assert "The parent process is gone" in (order.jobs_dir / "job-1" / "log.txt").read_text()


def test_a_job_with_a_stale_token_does_nothing(
    launcher: LocalLauncher, order: JobOrder, sqlite_database: Database
) -> None:
    jobs = Jobs(sqlite_database)
    jobs.request(config={"body": "waits"}, requested_by_id=None, snapshot_id=None)
    old = jobs.claim("old")
    assert old is not None
    jobs.end_attempt(old, "It was thought dead.")
    jobs.claim("new")

    process = launcher.start(order, folder=order.jobs_dir / "job-1")

    wait_for(lambda: process.exit_code() is not None)
    assert process.exit_code() == 4
    assert pid_of(order.jobs_dir / "job-1") is None
    launcher.stop(process)


def test_this_process_is_not_gone_and_an_ended_one_is() -> None:
    mine = name_of_this_process()
    host, _, start = mine.split(":")
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()

    assert not is_process_gone(mine)
    assert is_process_gone(f"{host}:{ended.pid}:{start}")
    assert is_process_gone(f"{host}:{os.getpid()}:1.00")
    assert not is_process_gone(f"elsewhere:{ended.pid}:{start}")
    assert not is_process_gone("")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-9, "killed by signal 9 (SIGKILL). Often that is the system, which was out of memory."),
        (-11, "killed by signal 11 (SIGSEGV)."),
        (7, "ended with exit code 7 and no result."),
        (5, "could not use the database (the reason is in its log.txt)."),
        (3, "was asked to stop by somebody else than its worker."),
    ],
)
def test_an_exit_is_told_in_words(code: int, text: str) -> None:
    assert describe_exit(code) == f"The training process {'was ' if code < 0 else ''}{text}"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), "memory ran out (MemoryError). Choose a smaller preset"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 GB"), "memory ran out ("),
        (OSError(28, "No space left on device"), "the disk is full ("),
        (PermissionError(13, "Permission denied"), "a file cannot be written ("),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero. The served"),
    ],
)
def test_a_failure_is_told_in_words(error: Exception, cause: str) -> None:
    text = describe_failure(error, phase="ppo", folder=Path("/data/jobs/job-3"))

    assert text.startswith(f'The job failed in phase "ppo": {cause}')
    assert text.endswith("The served version is unchanged. The whole output is in /data/jobs/job-3/log.txt.")
