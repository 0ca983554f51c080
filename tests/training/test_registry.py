"""A version is there whole or not at all, one serves at a time, and only the holder of a lease promotes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from db.engine import Database
from db.tables import AuditEvent, ModelVersion
from training import base_model
from training.errors import (
    BrokenVersion,
    NothingBefore,
    NothingServing,
    NotServable,
    StaleLease,
    UnusableModel,
    VersionNotFound,
)
from training.jobs import ClaimedJob, Jobs
from training.registry import Registry
from training.version_rows import VersionKind, base_of


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database=database, models_dir=tmp_path / "models")


@pytest.fixture
def base_id(registry: Registry, tmp_path: Path) -> int:
    return registry.ensure_base(path_or_name=str(make_folder(tmp_path / "base", "base")), name="sft")


def make_folder(folder: Path, content: str) -> Path:
    (folder / "nested").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "nested" / "weights.safetensors").write_text(content)
    return folder


def add(
    registry: Registry,
    tmp_path: Path,
    base_id: int,
    *,
    kind: VersionKind = "policy",
    claimed: ClaimedJob | None = None,
) -> int:
    return registry.add_version(
        kind=kind,
        name_hint=kind,
        folder=make_folder(tmp_path / "fresh", "weights"),
        metrics={"kl": 2.5, "spread": float("nan")},
        start_id=base_id,
        anchor_id=base_id,
        reward_id=None,
        job_id=claimed.job_id if claimed else None,
        fencing_token=claimed.fencing_token if claimed else None,
    )


def promote(registry: Registry, version_id: int, claimed: ClaimedJob | None = None) -> None:
    registry.promote(
        version_id,
        by_user_id=None,
        reason="the gate passed it",
        verdict={"verdict": "pass"},
        job_id=claimed.job_id if claimed else None,
        fencing_token=claimed.fencing_token if claimed else None,
    )


def audit_of(database: Database) -> list[tuple[str, str, dict[str, object]]]:
    with database.read() as session:
        events = session.query(AuditEvent).order_by(AuditEvent.id).all()
    return [(event.action, event.subject, event.detail) for event in events]


def stale_claim(database: Database) -> ClaimedJob:
    """The claim of an attempt that another one has replaced."""
    jobs = Jobs(database)
    jobs.request(config={}, requested_by_id=None, snapshot_id=None)
    old = jobs.claim("old")
    assert old is not None
    jobs.end_attempt(old, "It crashed.")
    assert jobs.claim("new") is not None
    return old


def test_the_first_base_is_registered_once_and_serves(registry: Registry, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "base", "base")

    first = registry.ensure_base(path_or_name=str(folder), name="sft")
    second = registry.ensure_base(path_or_name=str(folder), name="sft")

    assert first == second
    assert [(version.id, version.kind, version.path) for version in registry.list()] == [
        (first, "sft", str(folder))
    ]
    assert registry.serving().id == first


def test_the_bundled_model_is_copied_so_that_its_line_outlives_an_upgrade(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = make_folder(tmp_path / "package", "one")
    monkeypatch.setattr(base_model, "BUNDLED_MODEL_DIR", bundled)
    monkeypatch.setattr(base_model, "BUNDLED_BASE_DIR", tmp_path / "none")
    first = registry.ensure_base(path_or_name="", name="sft")
    policy = add(registry, tmp_path, first)
    promote(registry, policy)
    (bundled / "nested" / "weights.safetensors").write_text("two")

    second = registry.ensure_base(path_or_name="", name="sft")

    assert registry.get(second).name == "sft-2"
    assert registry.serving().id == policy
    registry.verify(policy)
    copy = Path(registry.get(first).path)
    assert copy.parent == registry.models_dir
    assert (copy / "nested" / "weights.safetensors").read_text() == "one"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that carries the pretrained model beside the fine-tuned one."""
    make_folder(tmp_path / "package" / "model", "fine-tuned")
    make_folder(tmp_path / "package" / "base", "pretrained")
    monkeypatch.setattr(base_model, "BUNDLED_MODEL_DIR", tmp_path / "package" / "model")
    monkeypatch.setattr(base_model, "BUNDLED_BASE_DIR", tmp_path / "package" / "base")
    return tmp_path / "package"


def test_the_pretrained_model_is_a_version_that_the_served_one_started_from(
    registry: Registry, package: Path
) -> None:
    served = registry.ensure_base(path_or_name="", name="sft")
    again = registry.ensure_base(path_or_name="", name="sft")

    base, sft = registry.list()
    assert again == served == sft.id == registry.serving().id
    assert (base.name, base.kind, base.state, base.start_id, base.anchor_id) == (
        "base", "base", "candidate", None, None,
    )  # fmt: skip
    assert (sft.name, sft.kind, sft.start_id, sft.anchor_id) == ("sft", "sft", base.id, None)
    copy = Path(base.path)
    assert copy.parent == registry.models_dir
    assert (copy / "nested" / "weights.safetensors").read_text() == "pretrained"
    assert registry.sweep() == []


def test_the_pretrained_model_never_serves_nor_becomes_the_root_of_a_line(
    registry: Registry, package: Path, tmp_path: Path
) -> None:
    sft = registry.ensure_base(path_or_name="", name="sft")
    base = registry.list()[0].id
    policy = add(registry, tmp_path, sft)
    promote(registry, policy)

    with pytest.raises(NotServable, match="base is a base model and cannot serve"):
        promote(registry, base)
    assert registry.ensure_base(path_or_name="", name="sft") == sft
    assert registry.serving().id == policy
    assert registry.roll_back(by_user_id=None).id == sft
    with pytest.raises(NothingBefore):
        registry.roll_back(by_user_id=None)
    with registry.database.read() as session:
        versions = session.query(ModelVersion).all()
        root = base_of(session.get_one(ModelVersion, policy), versions)
        assert root.id == sft


def test_with_a_model_of_their_own_people_get_no_pretrained_one(
    registry: Registry, package: Path, tmp_path: Path
) -> None:
    registry.ensure_base(path_or_name=str(make_folder(tmp_path / "own", "own")), name="sft")
    assert [version.kind for version in registry.list()] == ["sft"]


def test_an_upgrade_of_the_pretrained_model_is_listed_beside_the_old(
    registry: Registry, package: Path
) -> None:
    sft = registry.ensure_base(path_or_name="", name="sft")
    (package / "base" / "nested" / "weights.safetensors").write_text("newer")
    (package / "model" / "nested" / "weights.safetensors").write_text("newer too")
    newer = registry.ensure_base(path_or_name="", name="sft")

    assert [(version.name, version.start_id) for version in registry.list()] == [
        ("base", None), ("sft", 1), ("base-2", None), ("sft-2", 3),
    ]  # fmt: skip
    assert (sft, newer) == (2, 4)


def test_another_model_setting_serves_another_base_and_the_old_line_stays_listed(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    policy = add(registry, tmp_path, base_id)
    promote(registry, policy)
    other = registry.ensure_base(path_or_name=str(make_folder(tmp_path / "other", "other")), name="sft")

    assert registry.serving().id == other
    assert [(version.id, version.state) for version in registry.list()] == [
        (base_id, "retired"),
        (policy, "retired"),
        (other, "serving"),
    ]

    registry.ensure_base(path_or_name=str(tmp_path / "base"), name="sft")
    assert registry.serving().id == policy


def test_a_folder_overwritten_by_another_model_is_a_new_base(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    (tmp_path / "base" / "nested" / "weights.safetensors").write_text("quite different")

    again = registry.ensure_base(path_or_name=str(tmp_path / "base"), name="sft")

    assert again != base_id
    assert registry.serving().id == again


def test_a_hub_name_is_registered_by_name(registry: Registry) -> None:
    base_id = registry.ensure_base(path_or_name="somebody/small-gpt", name="sft")

    assert registry.get(base_id).path == "somebody/small-gpt"
    registry.verify(base_id)


@pytest.mark.parametrize("text", ["/nowhere/model", "./nowhere", "~/nowhere", "a/b/c"])
def test_a_path_without_a_folder_is_refused_with_the_remedy(registry: Registry, text: str) -> None:
    with pytest.raises(UnusableModel, match=r"There is no model folder .* RAPPORT_MODEL"):
        registry.ensure_base(path_or_name=text, name="sft")


def test_a_folder_without_a_model_is_refused_and_the_old_base_serves_on(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UnusableModel, match=r"has no config\.json"):
        registry.ensure_base(path_or_name=str(tmp_path / "empty"), name="sft")
    assert registry.serving().id == base_id


def test_a_new_version_is_a_candidate_in_a_folder_of_its_own(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    version_id = add(registry, tmp_path, base_id)

    version = registry.get(version_id)
    assert (version.name, version.state) == (f"policy-{version_id}", "candidate")
    assert (version.start_id, version.anchor_id) == (base_id, base_id)
    assert version.metrics == {"kl": 2.5, "spread": None}
    assert not (tmp_path / "fresh").exists()
    assert (Path(version.path) / "nested" / "weights.safetensors").read_text() == "weights"
    with registry.database.read() as session:
        files = session.get_one(ModelVersion, version_id).manifest["files"]
    assert files["nested/weights.safetensors"] == {
        "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
        "bytes": 7,
    }


def test_a_zombie_adds_no_version_and_keeps_its_folder(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    with pytest.raises(StaleLease):
        add(registry, tmp_path, base_id, claimed=stale_claim(registry.database))

    assert [version.id for version in registry.list()] == [base_id]
    assert (tmp_path / "fresh" / "config.json").exists()
    assert [path.name for path in registry.models_dir.iterdir() if path.is_dir()] == []


def test_promotion_retires_the_old_and_keeps_the_verdict(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    policy = add(registry, tmp_path, base_id)

    promote(registry, policy)
    promote(registry, policy)

    assert registry.serving().id == policy
    assert registry.get(base_id).state == "retired"
    assert audit_of(registry.database)[1:] == [
        (
            "promote",
            f"version {policy}",
            {
                "reason": "the gate passed it",
                "verdict": {"verdict": "pass"},
                "forced": False,
                "job": None,
                "version": f"policy-{policy}",
                "before": "sft",
            },
        )
    ]


def test_a_zombie_promotes_nothing(registry: Registry, base_id: int, tmp_path: Path) -> None:
    policy = add(registry, tmp_path, base_id)

    with pytest.raises(StaleLease):
        promote(registry, policy, stale_claim(registry.database))

    assert registry.serving().id == base_id
    assert registry.get(policy).state == "candidate"


def test_promotions_at_once_leave_exactly_one_serving(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    policies = [add(registry, tmp_path, base_id) for _ in range(4)]
    threads = [threading.Thread(target=promote, args=(registry, policy)) for policy in policies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(version.state for version in registry.list()) == ["retired"] * 4 + ["serving"]
    assert len(audit_of(registry.database)) == 5


def test_a_reward_model_cannot_be_served(registry: Registry, base_id: int, tmp_path: Path) -> None:
    reward = add(registry, tmp_path, base_id, kind="reward")

    with pytest.raises(NotServable, match=f"reward-{reward} is a reward model"):
        promote(registry, reward)
    assert registry.serving().id == base_id


def test_a_version_with_a_changed_file_is_not_promoted(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    policy = add(registry, tmp_path, base_id)
    weights = Path(registry.get(policy).path) / "nested" / "weights.safetensors"
    weights.write_text("weightz")

    with pytest.raises(BrokenVersion, match=r"content of nested/weights\.safetensors has changed"):
        promote(registry, policy)
    weights.unlink()
    with pytest.raises(BrokenVersion, match=r"nested/weights\.safetensors is missing"):
        registry.verify(policy)
    assert registry.serving().id == base_id


def test_a_version_whose_anchor_is_gone_is_broken(registry: Registry, base_id: int, tmp_path: Path) -> None:
    policy = add(registry, tmp_path, base_id)
    (tmp_path / "base" / "config.json").unlink()

    with pytest.raises(BrokenVersion, match=r"sft cannot be used: the file config\.json is missing"):
        registry.verify(policy)


def test_rolling_back_walks_through_the_versions_served_before(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    bad, worse, good = (add(registry, tmp_path, base_id) for _ in range(3))
    promote(registry, bad)
    promote(registry, worse)

    assert registry.roll_back(by_user_id=None).id == bad
    assert registry.roll_back(by_user_id=None).id == base_id
    with pytest.raises(NothingBefore, match="serving before sft"):
        registry.roll_back(by_user_id=None)

    promote(registry, good)
    assert registry.roll_back(by_user_id=None).id == base_id
    assert audit_of(registry.database)[-1] == (
        "roll back",
        f"version {base_id}",
        {"version": "sft", "before": f"policy-{good}"},
    )


def test_without_a_version_nothing_serves(registry: Registry) -> None:
    with pytest.raises(NothingServing, match="No model version is serving"):
        registry.serving()
    with pytest.raises(VersionNotFound, match="no model version 7"):
        registry.get(7)


def test_the_version_of_a_job_is_found_again(registry: Registry, base_id: int, tmp_path: Path) -> None:
    jobs = Jobs(registry.database)
    job_id = jobs.request(config={}, requested_by_id=None, snapshot_id=None)
    claimed = jobs.claim("worker")
    assert registry.of_job(job_id, "policy") is None

    policy = add(registry, tmp_path, base_id, claimed=claimed)

    found = registry.of_job(job_id, "policy")
    assert found is not None
    assert found.id == policy
    assert registry.of_job(job_id, "reward") is None


def test_a_sweep_removes_folders_without_a_row_and_nothing_else(
    registry: Registry, base_id: int, tmp_path: Path
) -> None:
    policy = add(registry, tmp_path, base_id)
    make_folder(registry.models_dir / "policy-0123456789ab", "lost")
    make_folder(registry.models_dir / "incoming-0123456789ab", "half")
    make_folder(registry.models_dir / "my own model", "mine")

    assert registry.sweep() == ["incoming-0123456789ab", "policy-0123456789ab"]
    registry.verify(policy)
    assert (registry.models_dir / "my own model").exists()


ADD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from db.engine import open_database
from db.settings import DatabaseSettings
from training import model_store
from training.registry import Registry
url, models_dir, folder, place = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if place == "before the move":
    model_store.os.replace = die
if place == "after the move":
    Registry.add_version.__globals__["held_job"] = die
if place == "after the row":
    model_store.shutil.rmtree = die
registry = Registry(database=open_database(DatabaseSettings(url=url)), models_dir=Path(models_dir))
registry.add_version(kind="policy", name_hint="policy", folder=Path(folder), metrics={}, start_id=None,
    anchor_id=None, reward_id=None, job_id=1, fencing_token=1)
"""


@pytest.mark.parametrize(
    ("place", "versions"), [("before the move", 0), ("after the move", 0), ("after the row", 1)]
)
def test_kill_9_while_a_version_is_added_leaves_a_whole_one_or_none(
    sqlite_database: Database, sqlite_url: str, tmp_path: Path, place: str, versions: int
) -> None:
    jobs = Jobs(sqlite_database)
    jobs.request(config={}, requested_by_id=None, snapshot_id=None)
    jobs.claim("worker")
    registry = Registry(database=sqlite_database, models_dir=tmp_path / "models")
    registry.sweep()
    fresh = make_folder(tmp_path / "fresh", "weights")

    killed = subprocess.run(
        [sys.executable, "-c", ADD_AND_DIE, sqlite_url, registry.models_dir, fresh, place],
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert killed.returncode == -signal.SIGKILL
    registry.sweep()
    found = registry.list()
    assert len(found) == versions
    for version in found:
        registry.verify(version.id)
    folders = {path.name for path in registry.models_dir.iterdir() if path.is_dir()}
    assert folders == {Path(version.path).name for version in found}
    assert fresh.exists() == (place == "before the move")
