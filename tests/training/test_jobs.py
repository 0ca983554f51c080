"""Jobs are asked for once per line, claimed once, and changed only by who holds the newest fencing token."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from db.engine import Database
from db.tables import AuditEvent, Job, utc_now
from tests.factories import make_user
from training.errors import JobAlreadyActive, JobNotActive, JobNotFound, StaleLease
from training.job_values import NewEvent, NewMetric, Report
from training.jobs import ClaimedJob, Jobs


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


def request(jobs: Jobs, **changes: int) -> int:
    return jobs.request(config={"size": "tiny"}, requested_by_id=None, snapshot_id=None, **changes)


def claim(jobs: Jobs) -> ClaimedJob:
    claimed = jobs.claim("host:1:0")
    assert claimed is not None
    return claimed


def expire_lease(jobs: Jobs, job_id: int) -> None:
    with jobs.database.write() as session:
        job = session.get_one(Job, job_id)
        job.lease_until = utc_now() - timedelta(seconds=1)


def test_a_requested_job_waits_with_its_configuration(jobs: Jobs) -> None:
    job_id = request(jobs)

    info = jobs.get(job_id)

    assert (info.state, info.attempt, info.config, info.requested_by) == (
        "queued",
        0,
        {"size": "tiny"},
        "the schedule",
    )
    assert jobs.active() == info
    assert jobs.list() == [info]


def test_a_second_request_names_the_active_job_and_who_asked_for_it(jobs: Jobs) -> None:
    with jobs.database.write() as session:
        anna = make_user(session=session, name="Anna").id
    job_id = jobs.request(config={}, requested_by_id=anna, snapshot_id=None)

    with pytest.raises(JobAlreadyActive) as raised:
        request(jobs)

    message = str(raised.value)
    assert f"Retraining {job_id}, asked for by Anna" in message
    assert "waiting for a worker" in message
    assert f"POST /api/retrainings/{job_id}/cancel" in message


def test_of_requests_at_once_exactly_one_wins(jobs: Jobs) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        try:
            request(jobs)
            outcomes.append("queued")
        except JobAlreadyActive:
            outcomes.append("refused")

    run_together(ask, 8)

    assert sorted(outcomes) == ["queued"] + ["refused"] * 7
    assert len(jobs.list()) == 1


def test_an_ended_job_makes_room_for_the_next(jobs: Jobs) -> None:
    request(jobs)
    jobs.finish(claim(jobs), "succeeded", result={"verdict": "pass"})

    second = request(jobs)

    assert [info.state for info in jobs.list()] == ["queued", "succeeded"]
    assert jobs.list()[0].id == second


def test_a_job_is_claimed_by_one_worker_only(jobs: Jobs) -> None:
    request(jobs)
    claims: list[ClaimedJob | None] = []
    start = threading.Barrier(6)

    def take() -> None:
        start.wait()
        claims.append(jobs.claim("somebody"))

    run_together(take, 6)

    assert sum(each is not None for each in claims) == 1


def test_nothing_is_claimed_when_nothing_waits(jobs: Jobs) -> None:
    assert jobs.claim("somebody") is None


def test_each_claim_raises_the_fencing_token_and_the_attempt(jobs: Jobs) -> None:
    job_id = request(jobs)
    first = claim(jobs)
    jobs.end_attempt(first, "It crashed.")

    second = claim(jobs)

    assert (first.attempt, first.fencing_token) == (1, 1)
    assert (second.attempt, second.fencing_token) == (2, 2)
    assert second.job_id == job_id


def test_a_heartbeat_renews_the_lease_and_tells_of_a_cancel(jobs: Jobs) -> None:
    job_id = request(jobs)
    claimed = claim(jobs)
    expire_lease(jobs, job_id)

    assert jobs.heartbeat(claimed).cancel_requested is False
    assert jobs.recover_expired() == []
    jobs.request_cancel(job_id)
    assert jobs.heartbeat(claimed).cancel_requested is True


def test_an_expired_lease_queues_the_job_again_and_shuts_the_old_holder_out(jobs: Jobs) -> None:
    job_id = request(jobs)
    old = claim(jobs)
    expire_lease(jobs, job_id)

    recovered = jobs.recover_expired()

    assert [(job.job_id, job.fencing_token, job.state) for job in recovered] == [(job_id, 1, "queued")]
    with pytest.raises(StaleLease, match="is queued"):
        jobs.heartbeat(old)
    new = claim(jobs)
    assert jobs.must_stop(old)
    assert not jobs.must_stop(new)
    for act in (
        lambda: jobs.heartbeat(old),
        lambda: jobs.record(old, Report(events=(NewEvent("info", "I am a zombie"),))),
        lambda: jobs.finish(old, "succeeded"),
        lambda: jobs.end_attempt(old, "gone"),
        lambda: jobs.release(old),
    ):
        with pytest.raises(StaleLease, match="its token is 2"):
            act()
    assert jobs.get(job_id).state == "running"
    assert [event.text for event in jobs.events(job_id)] == [
        "The worker that ran the job is gone. Attempt 2 of 3 goes on from the last checkpoint."
    ]


def test_a_worker_that_is_known_to_be_gone_is_not_waited_for(jobs: Jobs) -> None:
    job_id = request(jobs)
    claim(jobs)

    assert jobs.recover_expired(lambda owner: owner == "another:1:0") == []
    assert jobs.recover_expired(lambda owner: owner == "host:1:0")[0].job_id == job_id


def test_after_the_last_attempt_a_job_fails_with_the_reason(jobs: Jobs) -> None:
    job_id = request(jobs, max_attempts=2)
    jobs.end_attempt(claim(jobs), "It crashed.")
    last = claim(jobs)
    jobs.record(last, Report(phase="ppo", progress=0.5))

    assert jobs.end_attempt(last, "It was killed by signal 9 (SIGKILL).") == "failed"

    info = jobs.get(job_id)
    assert info.state == "failed"
    assert info.error is not None
    assert info.error.startswith(
        'It was killed by signal 9 (SIGKILL). It was attempt 2 of 2 in phase "ppo", so the job was given up. '
        "The served version is unchanged."
    )
    assert jobs.events(job_id)[-1].kind == "error"
    assert jobs.claim("somebody") is None


def test_a_job_given_back_by_a_stopping_worker_loses_no_attempt(jobs: Jobs) -> None:
    request(jobs, max_attempts=1)
    jobs.release(claim(jobs))

    again = claim(jobs)

    assert jobs.end_attempt(again, "It crashed.") == "failed"


def test_a_waiting_job_is_cancelled_at_once(jobs: Jobs) -> None:
    job_id = request(jobs)

    assert jobs.request_cancel(job_id).state == "cancelled"
    assert jobs.claim("somebody") is None


def test_a_cancelled_running_job_is_cancelled_and_not_queued_when_its_process_ends(jobs: Jobs) -> None:
    job_id = request(jobs)
    claimed = claim(jobs)

    assert jobs.request_cancel(job_id).state == "running"
    assert jobs.must_stop(claimed)
    assert jobs.end_attempt(claimed, "It ended.") == "cancelled"
    assert jobs.get(job_id).error is None


def test_who_cancelled_is_kept(jobs: Jobs) -> None:
    with jobs.database.write() as session:
        anna = make_user(session=session, name="Anna").id
    job_id = request(jobs)
    claim(jobs)
    jobs.request_cancel(job_id, by_user_id=anna)
    jobs.request_cancel(job_id, by_user_id=anna)

    with jobs.database.read() as session:
        events = session.query(AuditEvent).all()
    assert [(event.user_id, event.action, event.subject) for event in events] == [
        (anna, "cancel job", f"job {job_id}")
    ]


def test_an_ended_job_cannot_be_cancelled(jobs: Jobs) -> None:
    job_id = request(jobs)
    jobs.finish(claim(jobs), "failed", error="The disk is full.")

    with pytest.raises(JobNotActive, match=f"Job {job_id} has already failed"):
        jobs.request_cancel(job_id)
    with pytest.raises(JobNotFound, match="no job 999"):
        jobs.request_cancel(999)


def test_a_finished_job_keeps_result_and_error(jobs: Jobs) -> None:
    job_id = request(jobs)
    jobs.finish(claim(jobs), "failed", result={"kl": float("nan"), "at": (1, 2)}, error="The disk is full.")

    info = jobs.get(job_id)

    assert (info.state, info.error) == ("failed", "The disk is full.")
    assert info.result == {"kl": None, "at": [1, 2]}
    assert info.finished_at is not None


def test_a_number_reported_twice_is_one_point_with_the_later_value(jobs: Jobs) -> None:
    job_id = request(jobs)
    claimed = claim(jobs)
    for value in (1.0, 2.0):
        jobs.record(claimed, Report(metrics=(NewMetric(5, "ppo/score", value),)))

    assert [(point.step, point.name, point.value) for point in jobs.metrics(job_id)] == [
        (5, "ppo/score", 2.0)
    ]


def test_a_resumed_attempt_replaces_the_steps_it_does_again_and_no_others(jobs: Jobs) -> None:
    job_id = request(jobs)
    first = claim(jobs)
    scores = tuple(NewMetric(step, "ppo/score", float(step)) for step in range(6))
    jobs.record(first, Report(metrics=(*scores, NewMetric(9, "reward/loss", 0.5))))
    jobs.end_attempt(first, "It crashed.")
    second = claim(jobs)

    jobs.record(second, Report(metrics=(NewMetric(4, "ppo/score", 40.0),)))

    points = {(point.name, point.step, point.value) for point in jobs.metrics(job_id)}
    assert points == {
        ("ppo/score", 0, 0.0),
        ("ppo/score", 1, 1.0),
        ("ppo/score", 2, 2.0),
        ("ppo/score", 3, 3.0),
        ("ppo/score", 4, 40.0),
        ("reward/loss", 9, 0.5),
    }


def test_a_follower_sees_a_replaced_point_under_a_new_id(jobs: Jobs) -> None:
    job_id = request(jobs)
    claimed = claim(jobs)
    jobs.record(claimed, Report(metrics=(NewMetric(1, "count", 1.0),)))
    seen = jobs.metrics(job_id)[-1].id

    jobs.record(claimed, Report(metrics=(NewMetric(1, "count", 2.0),)))

    assert [point.value for point in jobs.metrics(job_id, since_id=seen)] == [2.0]


def test_a_number_that_is_none_is_left_out_with_a_warning(jobs: Jobs) -> None:
    job_id = request(jobs)
    jobs.record(
        claim(jobs), Report(metrics=(NewMetric(3, "ppo/loss", float("nan")), NewMetric(3, "ppo/kl", 1.0)))
    )

    assert [point.name for point in jobs.metrics(job_id)] == ["ppo/kl"]
    warning = jobs.events(job_id)[0]
    assert (warning.kind, warning.text) == (
        "warning",
        "ppo/loss was nan at step 3; the curve leaves that step out.",
    )


def test_whatever_a_model_wrote_is_stored(jobs: Jobs) -> None:
    job_id = request(jobs)
    odd = NewEvent("sample", "a\x00b\ufffd你", {"prompt": [{"role": "user", "content": "\x00"}]})

    jobs.record(claim(jobs), Report(events=(odd,)))

    event = jobs.events(job_id)[0]
    assert (event.text, event.data["prompt"][0]["content"]) == ("a\ufffdb\ufffd你", "\x00")


def run_together(act: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=act) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
