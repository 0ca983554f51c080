"""A retraining, from votes in a real database to a candidate in the registry, on a random two-layer model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from db.engine import Database
from db.tables import Prompt
from feedback.preference import messages_from, prompt_hash
from tests.factories import make_comparison, make_user, make_vote
from tests.tiny_model import make_tiny_model
from training.errors import JobCancelled
from training.job_values import JobContext
from training.jobs import Jobs
from training.loading import LoadedModel
from training.part_of import PartOf
from training.registry import Registry
from training.reporting import SilentReporter
from training.request import request_retraining
from training.retrain import NoSnapshot, run_retraining
from training.reward.train import NothingToLearn
from training.settings import preset
from training.versions import load_policy

MakeJob = Callable[..., JobContext]


class Recorder(SilentReporter):
    """Remembers the progress and the log; stops the job when a phase is reached, if asked to."""

    def __init__(self, stop_at: str | None = None, after: float = 0.0) -> None:
        self.stop_at, self.after = stop_at, after
        self.progress: list[float] = []
        self.lines: list[str] = []

    def phase(self, name: str, progress: float) -> None:
        if name == self.stop_at and progress >= self.after:
            raise JobCancelled(1)
        self.progress.append(progress)

    def log(self, text: str, kind: str = "info") -> None:
        self.lines.append(text)


@pytest.fixture
def registry(sqlite_database: Database, tmp_path: Path) -> Registry:
    registry = Registry(database=sqlite_database, models_dir=tmp_path / "models")
    registry.ensure_base(path_or_name=str(make_tiny_model(tmp_path / "tiny")), name="tiny")
    return registry


@pytest.fixture
def make_job(sqlite_database: Database, registry: Registry, tmp_path: Path) -> MakeJob:
    """Stores prompts and votes, asks for a retraining and claims it."""

    def make(votes: int = 14, ranks: tuple[int, int] = (1, 2), **overrides: Any) -> JobContext:
        with sqlite_database.write() as session:
            person = make_user(session=session)
            for i in range(votes):
                comparison = make_comparison(session=session, user_id=person.id, prompt=f"I like {i} apples")
                make_vote(session=session, comparison=comparison, ranks=ranks)
            for i in range(12):
                messages = [{"role": "user", "content": f"Good day {i}"}]
                part = "ppo" if i % 2 else "heldout"
                key = prompt_hash(messages_from(messages))
                session.add(Prompt(prompt_hash=key, messages=messages, part=part, source="test"))
        jobs = Jobs(sqlite_database)
        request_retraining(
            database=sqlite_database,
            registry=registry,
            jobs=jobs,
            settings=preset("tiny", numerics={"precision": "float32"}, **overrides),
            snapshots_dir=tmp_path / "snapshots",
            requested_by_id=None,
            reason="a test",
        )
        claimed = jobs.claim("a worker")
        assert claimed is not None
        return JobContext(
            job_id=claimed.job_id,
            fencing_token=claimed.fencing_token,
            folder=tmp_path / "job",
            snapshot_id=claimed.snapshot_id,
            config=claimed.config,
        )

    return make


def weights(model: LoadedModel) -> dict[str, torch.Tensor]:
    return dict(model.model.state_dict())


def test_votes_become_a_candidate_with_a_verdict(
    make_job: MakeJob, registry: Registry, sqlite_database: Database
) -> None:
    reporter = Recorder()
    result = run_retraining(job=make_job(), registry=registry, database=sqlite_database, reporter=reporter)
    policy, reward = registry.get(result["policy_id"]), registry.get(result["reward_id"])
    base = registry.serving()
    assert (policy.kind, policy.start_id, policy.anchor_id, policy.reward_id) == (
        "policy",
        base.id,
        base.id,
        reward.id,
    )
    assert policy.state == "candidate"
    assert (policy.metrics["comparisons"], reward.metrics["comparisons"]) == (14, 14)
    assert reward.kind == "reward"
    assert result["verdict"] == policy.metrics["gate"]["verdict"]
    assert policy.metrics["gate"]["samples"][0]["prompt"] == [{"role": "user", "content": "Good day 0"}]
    assert reporter.progress == sorted(reporter.progress)
    assert reporter.progress[-1] == 1.0
    json.dumps(result)


def test_a_candidate_is_loaded_merged_into_its_anchor(
    make_job: MakeJob, registry: Registry, sqlite_database: Database
) -> None:
    result = run_retraining(
        job=make_job(), registry=registry, database=sqlite_database, reporter=SilentReporter()
    )
    base, policy = (load_policy(registry, i) for i in (registry.serving().id, result["policy_id"]))
    assert weights(base).keys() == weights(policy).keys()
    changed = [name for name, value in weights(policy).items() if not torch.equal(value, weights(base)[name])]
    assert changed
    assert all(".attn." in name or ".mlp." in name for name in changed)


@pytest.mark.parametrize(("stop_at", "after"), [("PPO", 0.6), ("gate", 0.0)])
def test_an_interrupted_job_goes_on_and_ends_in_the_same_weights(
    make_job: MakeJob,
    registry: Registry,
    sqlite_database: Database,
    stop_at: str,
    after: float,
    tmp_path: Path,
) -> None:
    job = make_job()
    with pytest.raises(JobCancelled):
        run_retraining(
            job=job, registry=registry, database=sqlite_database, reporter=Recorder(stop_at, after)
        )
    made_before = registry.of_job(job.job_id, "reward")
    assert made_before is not None
    again = run_retraining(job=job, registry=registry, database=sqlite_database, reporter=SilentReporter())
    assert again["reward_id"] == made_before.id
    whole = run_retraining(
        job=replace(job, folder=tmp_path / "whole", job_id=job.job_id),
        registry=registry,
        database=sqlite_database,
        reporter=SilentReporter(),
    )
    assert whole["policy_id"] == again["policy_id"]  # the finished job is not done again


def test_ties_only_are_refused_with_a_remedy(
    make_job: MakeJob, registry: Registry, sqlite_database: Database
) -> None:
    with pytest.raises(NothingToLearn, match="are ties, so nothing says which answers are better"):
        run_retraining(
            job=make_job(ranks=(1, 1)), registry=registry, database=sqlite_database, reporter=SilentReporter()
        )


def test_few_votes_are_not_enough_evidence(
    make_job: MakeJob, registry: Registry, sqlite_database: Database
) -> None:
    result = run_retraining(
        job=make_job(votes=7), registry=registry, database=sqlite_database, reporter=SilentReporter()
    )
    assert result["verdict"] == "not enough evidence"
    assert not result["is_promoted"]
    assert "There are 7 votes that prefer one answer" in result["reasons"][0]


def test_a_job_without_a_snapshot_is_refused(
    make_job: MakeJob, registry: Registry, sqlite_database: Database
) -> None:
    job = replace(make_job(), snapshot_id=None)
    with pytest.raises(NoSnapshot, match="no snapshot of votes"):
        run_retraining(job=job, registry=registry, database=sqlite_database, reporter=SilentReporter())


def test_a_stage_reports_its_part_of_the_whole() -> None:
    reporter = Recorder()
    PartOf(PartOf(reporter, 0.2, 1.0), 0.5, 0.75).phase("PPO", 0.5)
    assert reporter.progress == pytest.approx([0.7])
