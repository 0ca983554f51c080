"""The gate: is a candidate better than the version that serves, by people's taste and within limits?

Three verdicts. *fail*: it breaks a limit, or is surely no better. *not enough evidence*: too few votes,
judges no better than chance, or an interval on both sides of one half. *pass*: the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from scipy.stats import beta
from torch import Tensor

from feedback.dataset import SnapshotRecord
from training.answers import Answers, answer, bigram_count, distinct_2, kl_per_answer, ordinary_loss
from training.generation import DecodingParameters
from training.judges import Judge, JudgeAccuracy, has_order, pooled_accuracy, train_judges
from training.loading import LoadedModel
from training.numerics import Numerics
from training.part_of import PartOf
from training.ppo.ordinary import OrdinaryText
from training.reporting import Reporter
from training.reward.model import RewardModel
from training.reward.train import NothingToLearn
from training.roles import Roles
from training.seeds import derive_seed, generator_for
from training.settings import GateSettings, NumericsSettings, RewardSettings

Verdict = Literal["pass", "fail", "not enough evidence"]
Prompt = Sequence[Mapping[str, str]]
CANDIDATE, SERVING = "candidate", "serving"


@dataclass(frozen=True, slots=True)
class Contest:
    """What is compared: adapters of candidate and serving version on one anchor (None: the anchor itself serves)."""

    anchor: LoadedModel
    candidate: Path
    serving: Path | None
    records: Sequence[SnapshotRecord]
    prompts: Sequence[Prompt]
    ordinary_text: Sequence[str]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is measured without judges, candidate against serving version or anchor."""

    kl: float
    length: float
    serving_length: float
    ordinary_loss: float
    anchor_ordinary_loss: float
    distinct_2: float
    anchor_distinct_2: float


@dataclass(frozen=True, slots=True)
class GateReport:
    """The verdict, its reasons in words with numbers, and the numbers."""

    verdict: Verdict
    reasons: tuple[str, ...]
    win_rate: float | None
    interval: tuple[float, float] | None
    prompts: int
    judge_accuracy: JudgeAccuracy
    limits: Limits
    samples: tuple[dict[str, Any], ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.judge_accuracy.interval
        accuracy = {"share": self.judge_accuracy.share, "low": low, "high": high}
        return {**asdict(self), "judge_accuracy": {**asdict(self.judge_accuracy), **accuracy}}


def evaluate_candidate(
    contest: Contest,
    *,
    settings: GateSettings,
    reward_settings: RewardSettings,
    numerics: Numerics,
    numerics_settings: NumericsSettings,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> GateReport:
    """Train cross-fitted judges (kept in `folder`), let both versions answer held-out prompts, and decide."""
    judges = _judges(contest, settings, reward_settings, numerics, folder, seed, reporter)
    reporter.phase("gate", 0.7)
    prompts = list(contest.prompts)[: settings.prompts]
    parameters = DecodingParameters(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature)
    seeds = [derive_seed(seed, "gate", i) for i in range(len(prompts))]
    with Roles(contest.anchor, numerics) as roles:
        roles.load(CANDIDATE, contest.candidate)
        candidate = answer(roles, CANDIDATE, prompts, parameters, seeds)
        anchor_answers = serving = answer(roles, None, prompts, parameters, seeds)
        if contest.serving is not None:
            roles.load(SERVING, contest.serving)
            serving = answer(roles, SERVING, prompts, parameters, seeds)
        reporter.phase("gate", 0.85)
        limits = _measure_limits(
            roles, candidate, serving, anchor_answers, contest, settings, numerics_settings, seed
        )
    differences = _score_differences(judges, contest.anchor, numerics, candidate, serving)
    accuracy = pooled_accuracy(judges, contest.records)
    win_rate, interval = estimate_win_rate(differences, accuracy, settings, seed) if judges else (None, None)
    verdict, reasons = decide(accuracy, win_rate, interval, limits, len(prompts), settings)
    samples = _samples(prompts, candidate, serving, differences, contest.anchor, settings.samples)
    reporter.log(f"Gate: {verdict}. " + " ".join(reasons))
    return GateReport(verdict, tuple(reasons), win_rate, interval, len(prompts), accuracy, limits, samples)


def estimate_win_rate(
    differences: Tensor, accuracy: JudgeAccuracy, settings: GateSettings, seed: int
) -> tuple[float, tuple[float, float]]:
    """How often people would prefer the candidate, and an interval that knows of prompts *and* of the judges' errors.

    differences (judges, prompts): candidate's score minus serving's. A judge agrees with a person's vote with
    probability a. If it prefers the candidate on a share w of prompts, people do on w·a + (1 − w)(1 − a)
    = ½ + (2a − 1)(w − ½): the estimate shrinks to one half as judges get worse, and a useless judge
    (a = ½) proves nothing.
    The interval is a bootstrap over prompts and over judges, with a drawn from its posterior under Jeffreys' prior,
    Beta(right + ½, wrong + ½), since a small fold may happen to be judged without any error.
    """
    wins = (differences > 0).double() + 0.5 * (differences == 0).double()
    point = 0.5 + (2 * accuracy.share - 1) * (float(wins.mean()) - 0.5)
    generator = generator_for(seed, "bootstrap")
    judges, prompts = wins.shape
    picked_prompts = torch.randint(prompts, (settings.resamples, prompts), generator=generator)
    picked_judges = torch.randint(judges, (settings.resamples, judges), generator=generator)
    by_judge = torch.stack([row[picked_prompts].mean(1) for row in wins], dim=1)  # (resamples, judges)
    shares = by_judge.gather(1, picked_judges).mean(1)
    right, wrong = accuracy.right + 0.5, accuracy.rankings - accuracy.right + 0.5
    agreements = _beta_draws(right, wrong, settings.resamples, seed)
    rates = 0.5 + (2 * agreements - 1) * (shares - 0.5)
    tail = (1 - settings.confidence) / 2
    return point, (float(rates.quantile(tail)), float(rates.quantile(1 - tail)))


def decide(
    accuracy: JudgeAccuracy,
    win_rate: float | None,
    interval: tuple[float, float] | None,
    limits: Limits,
    prompts: int,
    settings: GateSettings,
) -> tuple[Verdict, list[str]]:
    """The verdict with its reasons; a broken limit fails whatever the judges say."""
    broken = broken_limits(limits, settings)
    doubts = _doubts(accuracy, prompts, settings)
    reasons = [*broken, *doubts]
    if win_rate is None or interval is None:
        return ("fail" if broken else "not enough evidence"), reasons
    low, high = interval
    reasons.append(
        f"People would prefer the candidate on {win_rate:.0%} of prompts ({settings.confidence:.0%} interval "
        f"{low:.0%} to {high:.0%}), by judges that agree with {accuracy.share:.0%} of {accuracy.rankings} unseen votes."
    )
    if broken or (not doubts and high < 0.5):
        return "fail", reasons
    if doubts or low <= 0.5:
        return "not enough evidence", reasons
    return "pass", reasons


def broken_limits(limits: Limits, settings: GateSettings) -> list[str]:
    """Every limit that the candidate breaks, in words with numbers."""
    broken = []
    if limits.kl > settings.max_kl:
        broken.append(
            f"KL from the anchor is {limits.kl:.1f} nats per answer; the limit is {settings.max_kl:g}."
        )
    ratio = limits.length / limits.serving_length
    if not 1 / settings.max_length_ratio <= ratio <= settings.max_length_ratio:
        broken.append(
            f"Answers have {limits.length:.0f} tokens where the serving version's have {limits.serving_length:.0f}; "
            f"the limit is a factor of {settings.max_length_ratio:g}."
        )
    increase = limits.ordinary_loss / limits.anchor_ordinary_loss - 1
    if increase > settings.max_ordinary_loss_increase:
        broken.append(
            f"Loss on ordinary text rose by {increase:.1%}, from {limits.anchor_ordinary_loss:.3f} to "
            f"{limits.ordinary_loss:.3f}; the limit is {settings.max_ordinary_loss_increase:.1%}."
        )
    if limits.distinct_2 < settings.min_distinct_ratio * limits.anchor_distinct_2:
        broken.append(
            f"Answers repeat each other: {limits.distinct_2:.0%} of their word pairs are different, against "
            f"{limits.anchor_distinct_2:.0%} of the anchor's; "
            f"at least {settings.min_distinct_ratio:.0%} of that is needed."
        )
    return broken


def _doubts(accuracy: JudgeAccuracy, prompts: int, settings: GateSettings) -> list[str]:
    if accuracy.rankings < settings.min_heldout_pairs:
        return [
            f"There are {accuracy.rankings} votes that prefer one answer to judge by; "
            f"the gate needs at least {settings.min_heldout_pairs}. Collect more comparisons."
        ]
    if prompts < settings.min_prompts:
        return [
            f"There are {prompts} held-out prompts that nobody voted on; the gate needs at least "
            f"{settings.min_prompts}. Add prompts to the library."
        ]
    low, high = accuracy.interval
    if low <= 0.5:
        return [
            f"The judges agree with {accuracy.share:.0%} of {accuracy.rankings} unseen votes (95 % interval {low:.0%} "
            f"to {high:.0%}), which may be chance, so they can pass nobody. Collect more comparisons."
        ]
    return []


def _judges(
    contest: Contest,
    settings: GateSettings,
    reward_settings: RewardSettings,
    numerics: Numerics,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> list[Judge]:
    """The judges, or none where the votes cannot give any."""
    if sum(map(has_order, contest.records)) < settings.min_heldout_pairs:
        return []
    try:
        return train_judges(
            records=contest.records,
            anchor=contest.anchor,
            count=settings.folds,
            settings=reward_settings,
            numerics=numerics,
            folder=folder,
            seed=derive_seed(seed, "judges"),
            reporter=PartOf(reporter, 0.0, 0.7),
        )
    except NothingToLearn as error:
        reporter.log(f"No judges: {error}", kind="warning")
        return []


def _measure_limits(
    roles: Roles,
    candidate: Answers,
    serving: Answers,
    anchor_answers: Answers,
    contest: Contest,
    settings: GateSettings,
    numerics_settings: NumericsSettings,
    seed: int,
) -> Limits:
    text = OrdinaryText(contest.ordinary_text, contest.anchor.chat_format, settings.ordinary_tokens, seed)
    bigrams = min(bigram_count(candidate), bigram_count(anchor_answers))
    return Limits(
        kl=kl_per_answer(roles, CANDIDATE, candidate, max_batch_tokens=numerics_settings.microbatch_tokens),
        length=candidate.mean_length,
        serving_length=serving.mean_length,
        ordinary_loss=ordinary_loss(roles, CANDIDATE, text, settings.ordinary_rows),
        anchor_ordinary_loss=ordinary_loss(roles, None, text, settings.ordinary_rows),
        distinct_2=distinct_2(candidate, bigrams),
        anchor_distinct_2=distinct_2(anchor_answers, bigrams),
    )


def _score_differences(
    judges: Sequence[Judge], anchor: LoadedModel, numerics: Numerics, candidate: Answers, serving: Answers
) -> Tensor:
    """Candidate's score minus serving's, by every judge: (judges, prompts)."""
    differences = torch.zeros(len(judges), len(candidate.prompts))
    for i, judge in enumerate(judges):
        model = RewardModel.load(judge.folder, anchor, numerics=numerics)
        differences[i] = model.scores(candidate.prompts, candidate.completions)
        differences[i] -= model.scores(serving.prompts, serving.completions)
        model.release()
    return differences


def _samples(
    prompts: Sequence[Prompt],
    candidate: Answers,
    serving: Answers,
    differences: Tensor,
    anchor: LoadedModel,
    count: int,
) -> tuple[dict[str, Any], ...]:
    """The first prompts with both answers, for people to read."""
    decode = anchor.chat_format.decode
    return tuple(
        {
            "prompt": [dict(message) for message in prompts[i]],
            "serving": decode(serving.completions[i]),
            "candidate": decode(candidate.completions[i]),
            "score_difference": float(differences[:, i].mean()) if len(differences) else None,
        }
        for i in range(min(count, len(prompts)))
    )


def _beta_draws(right: float, wrong: float, count: int, seed: int) -> Tensor:
    """Draws of Beta(right, wrong) by inverting its distribution at evenly spread numbers in a random order."""
    order = torch.randperm(count, generator=generator_for(seed, "beta"))
    points = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.as_tensor(beta.ppf(points[order].numpy(), right, wrong))
