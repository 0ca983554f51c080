"""A whole retraining: snapshot → reward model → PPO → gate → candidate version → promotion, each stage once.

A job that was interrupted goes on where it was: finished stages are found in the registry or in the job's folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from db.engine import Database
from db.tables import Snapshot
from feedback.dataset import SnapshotRecord, read_snapshot
from feedback.preference import PromptPart
from feedback.prompts import prompts_of_part
from training.bundled import BUNDLED_ORDINARY_TEXT
from training.errors import TrainingError
from training.evaluate import Contest, GateReport, evaluate_candidate
from training.job_values import JobContext
from training.loading import LoadedModel
from training.numerics import Numerics, kept_precision, probe_numerics
from training.part_of import PartOf
from training.ppo.ordinary import read_ordinary_text
from training.ppo.prompts import TooFewPrompts
from training.ppo.train import train_ppo
from training.registry import Registry
from training.reporting import Reporter
from training.reward.train import train_reward
from training.seeds import derive_seed
from training.settings import NumericsSettings, TrainingSettings
from training.version_rows import VersionInfo
from training.versions import PolicyRecord, load_policy, read_policy_record

Prompt = list[dict[str, str]]


class NoSnapshot(TrainingError):
    """A job without votes to learn from."""

    code = "no_snapshot"


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which versions a retraining starts from: `start_id` serves, `anchor_id` is the reference, chosen once per job."""

    start_id: int
    anchor_id: int

    @property
    def is_start_the_anchor(self) -> bool:
        """Whether the policy starts from the reference itself."""
        return self.start_id == self.anchor_id


@dataclass(frozen=True, slots=True)
class Material:
    """All that the stages learn from and are measured on."""

    records: Sequence[SnapshotRecord]
    ppo_prompts: Sequence[Prompt]
    heldout_prompts: Sequence[Prompt]

    @property
    def training_records(self) -> list[SnapshotRecord]:
        """The votes that the reward model may see."""
        return [record for record in self.records if record.part == "training"]


def run_retraining(
    *, job: JobContext, registry: Registry, database: Database, reporter: Reporter
) -> dict[str, Any]:
    """Do what the job asks for and return its result as plain values.

    Raises TrainingError and its kinds with a remedy each, feedback's SnapshotCorrupt, and what the reporter raises.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    settings = TrainingSettings.model_validate(job.config)
    material = read_material(job, database)
    lineage = choose_lineage(job, registry, settings)
    torch.set_num_threads(
        settings.numerics.threads or min(torch.get_num_threads(), max(1, (os.cpu_count() or 2) - 1))
    )
    numerics = kept_precision(job.folder, choose_numerics(settings.numerics))
    reporter.log(f"Training in {numerics.reason}.")
    anchor = load_policy(registry, lineage.anchor_id)
    stage = Stages(job, registry, settings, material, lineage, numerics, anchor)
    reward = stage.reward(PartOf(reporter, 0.0, 0.2))
    policy = stage.policy(reward, PartOf(reporter, 0.2, 0.95))
    is_promoted = stage.promote(policy, reporter)
    reporter.phase("done", 1.0)
    return {
        "reward_id": reward.id,
        "policy_id": policy.id,
        "policy": policy.name,
        "verdict": policy.metrics["gate"]["verdict"],
        "reasons": policy.metrics["gate"]["reasons"],
        "is_promoted": is_promoted,
    }


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one job on its material; each makes one artefact, and finds it again after a restart."""

    job: JobContext
    registry: Registry
    settings: TrainingSettings
    material: Material
    lineage: Lineage
    numerics: Numerics
    anchor: LoadedModel

    def reward(self, reporter: Reporter) -> VersionInfo:
        """Train the reward model on the training part of the votes."""
        made = self.registry.of_job(self.job.job_id, "reward")
        if made is not None:
            return made
        result = train_reward(
            records=self.material.training_records,
            anchor=self.anchor,
            settings=self.settings.reward,
            numerics=self.numerics,
            folder=self.job.folder / "reward",
            seed=derive_seed(self.settings.seed, "reward"),
            reporter=reporter,
        )
        version_id = self.registry.add_version(
            kind="reward",
            name_hint="reward",
            folder=result.folder,
            metrics={**result.metrics, "comparisons": len(self.material.records)},
            start_id=None,
            anchor_id=self.lineage.anchor_id,
            reward_id=None,
            job_id=self.job.job_id,
            fencing_token=self.job.fencing_token,
        )
        return self.registry.get(version_id)

    def policy(self, reward: VersionInfo, reporter: Reporter) -> VersionInfo:
        """Train the policy against the reward model, put it through the gate and register it as a candidate."""
        made = self.registry.of_job(self.job.job_id, "policy")
        if made is not None:
            return made
        start = self._adapter(self.lineage.start_id)
        result = train_ppo(
            anchor=self.anchor,
            start_adapter=start,
            reward_folder=Path(reward.path),
            prompts=self.material.ppo_prompts,
            ordinary_text=read_ordinary_text(BUNDLED_ORDINARY_TEXT, "training"),
            settings=self.settings.ppo,
            numerics=self.numerics,
            microbatch_tokens=self.settings.numerics.microbatch_tokens,
            folder=self.job.folder / "ppo",
            seed=derive_seed(self.settings.seed, "ppo"),
            reporter=PartOf(reporter, 0.0, 0.75),
        )
        report = self._gate(result.adapter_folder, start, PartOf(reporter, 0.75, 1.0))
        PolicyRecord("adapter", self.lineage.anchor_id).write(result.adapter_folder)
        version_id = self.registry.add_version(
            kind="policy",
            name_hint="policy",
            folder=result.adapter_folder,
            metrics={
                "comparisons": len(self.material.records),
                "ppo": result.metrics,
                "updates": result.updates,
                "stopped_because": result.stopped_because,
                "gate": report.as_dict(),
            },
            start_id=self.lineage.start_id,
            anchor_id=self.lineage.anchor_id,
            reward_id=reward.id,
            job_id=self.job.job_id,
            fencing_token=self.job.fencing_token,
        )
        return self.registry.get(version_id)

    def promote(self, policy: VersionInfo, reporter: Reporter) -> bool:
        """Serve the candidate if it passed, the settings say so, and the version it was compared with still serves."""
        if policy.is_serving:
            return True
        verdict = policy.metrics["gate"]
        if self.settings.promotion != "auto" or verdict["verdict"] != "pass":
            return False
        if self.registry.serving().id != self.lineage.start_id:
            reporter.log(
                f"{policy.name} passed, but another version has been promoted since it was compared; "
                "promote it by hand if you want it.",
                kind="warning",
            )
            return False
        self.registry.promote(
            policy.id,
            by_user_id=None,
            reason="the gate passed",
            verdict=verdict,
            job_id=self.job.job_id,
            fencing_token=self.job.fencing_token,
        )
        reporter.log(f"{policy.name} is promoted and serves now.")
        return True

    def _gate(self, candidate: Path, start: Path | None, reporter: Reporter) -> GateReport:
        contest = Contest(
            anchor=self.anchor,
            candidate=candidate,
            serving=start,
            records=self.material.records,
            prompts=self.material.heldout_prompts,
            ordinary_text=read_ordinary_text(BUNDLED_ORDINARY_TEXT, "heldout"),
        )
        return evaluate_candidate(
            contest,
            settings=self.settings.gate,
            reward_settings=self.settings.reward,
            numerics=self.numerics,
            numerics_settings=self.settings.numerics,
            folder=self.job.folder / "gate",
            seed=derive_seed(self.settings.seed, "gate"),
            reporter=reporter,
        )

    def _adapter(self, version_id: int) -> Path | None:
        """The adapter folder of the start version; None where it is the anchor itself."""
        return None if self.lineage.is_start_the_anchor else Path(self.registry.get(version_id).path)


def read_material(job: JobContext, database: Database) -> Material:
    """Read the snapshot and the prompts nobody voted on; raises NoSnapshot, TooFewPrompts, SnapshotCorrupt."""
    with database.read() as session:
        snapshot = session.get(Snapshot, job.snapshot_id) if job.snapshot_id is not None else None
        if snapshot is None:
            raise NoSnapshot(f"Job {job.job_id} has no snapshot of votes. Start the retraining again.")
        path, sha256 = Path(snapshot.path), snapshot.sha256
        parts: dict[PromptPart, list[Prompt]] = {
            part: [list(prompt.messages) for prompt in prompts_of_part(session=session, part=part)]
            for part in ("ppo", "heldout")
        }
    for part, prompts in parts.items():
        if not prompts:
            raise TooFewPrompts(
                f'The prompt library has no prompt of part "{part}" that nobody voted on. '
                "Start the service once, which loads the bundled ones, or add your own."
            )
    return Material(read_snapshot(path, sha256), parts["ppo"], parts["heldout"])


def choose_lineage(job: JobContext, registry: Registry, settings: TrainingSettings) -> Lineage:
    """Start from the version that serves when the job first runs; after a restart, from the same."""
    path = job.folder / "lineage.json"
    if path.exists():
        return Lineage(**json.loads(path.read_text(encoding="utf-8")))
    serving = registry.serving()
    stands_on = read_policy_record(serving).anchor_id
    is_own_anchor = settings.anchor == "serving" or stands_on is None
    lineage = Lineage(serving.id, serving.id if is_own_anchor or stands_on is None else stands_on)
    path.write_text(json.dumps(asdict(lineage)), encoding="utf-8")
    return lineage


def choose_numerics(settings: NumericsSettings) -> Numerics:
    """Device and precision as set, or as this machine is best at."""
    device = None if settings.device == "auto" else settings.device
    return probe_numerics(device=device, precision=settings.precision, compile_model=False)
