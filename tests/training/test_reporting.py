"""What a job reports reaches the database within half a second, and the job hears there that it is over."""

import time
from collections.abc import Callable

import pytest

from db.engine import Database
from db.errors import UnusableDatabaseError
from training.database_reporter import DatabaseReporter
from training.errors import JobCancelled, LeaseLost
from training.job_values import ClaimedJob, Heartbeat, Report
from training.jobs import Jobs
from training.reporting import PrintReporter, Reporter, SilentReporter


@pytest.fixture
def jobs(sqlite_database: Database) -> Jobs:
    return Jobs(sqlite_database)


@pytest.fixture
def claimed(jobs: Jobs) -> ClaimedJob:
    jobs.request(config={}, requested_by_id=None, snapshot_id=None)
    claimed = jobs.claim("worker")
    assert claimed is not None
    return claimed


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def count_slowly(reporter: Reporter) -> None:
    for step in range(100):
        reporter.metrics(step, {"count": 1.0})
        time.sleep(0.05)


def report_everything(reporter: Reporter) -> None:
    reporter.phase("ppo", 0.25)
    reporter.metric(1, kl=0.5)
    reporter.metrics(1, {"ppo/score": 1.5})
    reporter.log("Stopped early: KL ran away.", "warning")
    reporter.sample(1, [{"role": "user", "content": "Hi"}], "Hello!", 0.75)


def test_everything_reported_is_in_the_database_at_the_end(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed) as reporter:
        report_everything(reporter)

    info = jobs.get(claimed.job_id)
    assert (info.phase, info.progress) == ("ppo", 0.25)
    assert [(point.step, point.name, point.value) for point in jobs.metrics(claimed.job_id)] == [
        (1, "kl", 0.5),
        (1, "ppo/score", 1.5),
    ]
    warning, sample = jobs.events(claimed.job_id)
    assert (warning.kind, warning.text) == ("warning", "Stopped early: KL ran away.")
    assert (sample.kind, sample.text) == ("sample", "Hello!")
    assert sample.data == {"step": 1, "prompt": [{"role": "user", "content": "Hi"}], "score": 0.75}


def test_numbers_arrive_although_the_job_reports_nothing_more(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed, flush_seconds=0.1) as reporter:
        reporter.metrics(1, {"ppo/score": 1.5})
        wait_for(lambda: len(jobs.metrics(claimed.job_id)) == 1)


def test_many_numbers_are_written_in_few_transactions(jobs: Jobs, claimed: ClaimedJob) -> None:
    counting = CountingJobs(jobs.database)
    with DatabaseReporter(counting, claimed) as reporter:
        for step in range(500):
            reporter.metrics(step, {"count": float(step)})

    assert len(jobs.metrics(claimed.job_id)) == 500
    assert counting.writes <= 4


def test_a_cancel_is_raised_at_the_next_phase(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed) as reporter:
        jobs.request_cancel(claimed.job_id)
        with pytest.raises(JobCancelled):
            reporter.phase("ppo", 0.5)
        assert reporter.is_stopping


def test_a_cancel_reaches_a_job_that_only_reports_numbers(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed, flush_seconds=0.1) as reporter:
        jobs.request_cancel(claimed.job_id)
        with pytest.raises(JobCancelled):
            count_slowly(reporter)


def test_a_signal_is_raised_at_the_next_number(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed) as reporter:
        reporter.stop()
        with pytest.raises(JobCancelled):
            reporter.metric(1, kl=0.5)


def test_a_replaced_attempt_is_told_so_and_leaves_no_trace(jobs: Jobs, claimed: ClaimedJob) -> None:
    with DatabaseReporter(jobs, claimed) as reporter:
        jobs.end_attempt(claimed, "It was thought dead.")
        reporter.sample(1, [], "I am a zombie", None)
        with pytest.raises(LeaseLost):
            reporter.phase("ppo", 0.5)

    assert jobs.metrics(claimed.job_id) == []
    assert [event.kind for event in jobs.events(claimed.job_id)] == ["warning"]


def test_a_report_that_the_database_refuses_is_written_with_the_next(
    jobs: Jobs, claimed: ClaimedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FailingJobs(jobs.database)
    with DatabaseReporter(failing, claimed, flush_seconds=0.05) as reporter:
        reporter.metrics(1, {"count": 1.0})
        wait_for(lambda: failing.refused > 0)
        with pytest.raises(UnusableDatabaseError):
            reporter.phase("ppo", 0.5)
        failing.is_full = False
        wait_for(lambda: len(jobs.metrics(claimed.job_id)) == 1)

    assert "the report waits" in capsys.readouterr().out


def test_a_metric_name_that_no_column_holds_is_refused(jobs: Jobs, claimed: ClaimedJob) -> None:
    with (
        DatabaseReporter(jobs, claimed) as reporter,
        pytest.raises(ValueError, match="must have 1 to 80 characters"),
    ):
        reporter.metrics(1, {"x" * 81: 1.0})


def test_scripts_may_be_silent_or_print(capsys: pytest.CaptureFixture[str]) -> None:
    report_everything(SilentReporter())
    assert capsys.readouterr().out == ""

    report_everything(PrintReporter())
    assert capsys.readouterr().out.splitlines() == [
        " 25%  ppo",
        "step 1  kl 0.5",
        "step 1  ppo/score 1.5",
        "warning: Stopped early: KL ran away.",
        "step 1  'Hi' -> 'Hello!' (0.75)",
    ]


class CountingJobs(Jobs):
    writes = 0

    def record(self, claimed: ClaimedJob, report: Report) -> Heartbeat:
        self.writes += 1
        return super().record(claimed, report)


class FailingJobs(Jobs):
    is_full = True
    refused = 0

    def record(self, claimed: ClaimedJob, report: Report) -> Heartbeat:
        if self.is_full:
            self.refused += 1
            raise UnusableDatabaseError("The database is full.")
        return super().record(claimed, report)
