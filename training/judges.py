"""Cross-fitted judges: reward models that each leave out a fold of the votes, and how right they are on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from feedback.dataset import SnapshotRecord
from feedback.preference import ordered_pairs
from training.loading import LoadedModel
from training.numerics import Numerics
from training.part_of import PartOf
from training.reporting import Reporter
from training.reward.data import ranked_prompts
from training.reward.health import wilson_interval
from training.reward.model import RewardModel
from training.reward.train import train_reward
from training.seeds import derive_seed, generator_for
from training.settings import RewardSettings

_OUTCOME_FILE = "fold.json"


@dataclass(frozen=True, slots=True)
class Judge:
    """A reward model's folder, and on how many held-out rankings it was right (a half for equal scores)."""

    folder: Path
    rankings: int
    right: float


@dataclass(frozen=True, slots=True)
class JudgeAccuracy:
    """How often judges agree with votes they have not seen, pooled over the folds, with its 95 % interval."""

    rankings: int
    right: float

    @property
    def share(self) -> float:
        """The pooled accuracy; one half without any vote."""
        return self.right / self.rankings if self.rankings else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return wilson_interval(self.right, self.rankings)


def has_order(record: SnapshotRecord) -> bool:
    """Whether the ranking prefers anything to anything."""
    return bool(ordered_pairs(record.ranks))


def folds_of(records: Sequence[SnapshotRecord], count: int, seed: int) -> list[list[SnapshotRecord]]:
    """Split records into folds by prompt, so that no judge has seen a prompt it is measured on."""
    hashes = sorted({record.prompt_hash for record in records})
    order = torch.randperm(len(hashes), generator=generator_for(seed, "folds")).tolist()
    fold_of = {hashes[place]: rank % count for rank, place in enumerate(order)}
    folds: list[list[SnapshotRecord]] = [[] for _ in range(count)]
    for record in records:
        folds[fold_of[record.prompt_hash]].append(record)
    return folds


def train_judges(
    *,
    records: Sequence[SnapshotRecord],
    anchor: LoadedModel,
    count: int,
    settings: RewardSettings,
    numerics: Numerics,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> list[Judge]:
    """Train `count` judges, each without a fold; those already in `folder` are kept.

    Raises NothingToLearn when a judge's votes are all ties or all about one prompt.
    """
    folds = folds_of(records, count, seed)
    judges = []
    for i, fold in enumerate(folds):
        place = folder / f"judge-{i}"
        if not (place / _OUTCOME_FILE).exists():
            train_reward(
                records=[record for other in folds if other is not fold for record in other],
                anchor=anchor,
                settings=settings,
                numerics=numerics,
                folder=place,
                seed=derive_seed(seed, "judge", i),
                reporter=PartOf(reporter, i / count, (i + 1) / count),
            )
            _measure(place, anchor, numerics, fold)
        judges.append(Judge(folder=place, **json.loads((place / _OUTCOME_FILE).read_text(encoding="utf-8"))))
    return judges


def pooled_accuracy(judges: Sequence[Judge], records: Sequence[SnapshotRecord]) -> JudgeAccuracy:
    """The accuracy of the procedure: every ranking is judged once, by the judge that has not seen it.

    Without judges each ranking counts as judged by chance, one half right.
    """
    if not judges:
        rankings = sum(map(has_order, records))
        return JudgeAccuracy(rankings, rankings / 2)
    return JudgeAccuracy(sum(judge.rankings for judge in judges), sum(judge.right for judge in judges))


def _measure(place: Path, anchor: LoadedModel, numerics: Numerics, fold: Sequence[SnapshotRecord]) -> None:
    """Compare a judge with its fold; written last, so that the file says that the judge is finished."""
    judge = RewardModel.load(place, anchor, numerics=numerics)
    try:
        right = [_agreement(judge, record, anchor) for record in fold if has_order(record)]
    finally:
        judge.release()
    outcome = Judge(place, len(right), sum(right))
    fields = {name: value for name, value in asdict(outcome).items() if name != "folder"}
    (place / _OUTCOME_FILE).write_text(json.dumps(fields), encoding="utf-8")


def _agreement(judge: RewardModel, record: SnapshotRecord, anchor: LoadedModel) -> float:
    """The share of a ranking's ordered pairs that the judge orders the same way."""
    prompt = ranked_prompts([record], anchor.chat_format, judge.record.max_tokens)[0]
    scores = judge.raw_scores(prompt.sequences)[list(prompt.positions[0])].tolist()
    pairs = ordered_pairs(record.ranks)
    won = [
        0.5
        + 0.5
        * ((scores[pair.chosen] > scores[pair.rejected]) - (scores[pair.chosen] < scores[pair.rejected]))
        for pair in pairs
    ]
    return float(sum(won) / len(won))
