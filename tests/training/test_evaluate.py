"""The gate's arithmetic and its three verdicts, against numbers worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny_model import SENTENCES
from tests.training.material import FLOAT32, make_record, make_records
from training.answers import Answers, answer, bigram_count, distinct_2, kl_per_answer, ordinary_loss
from training.evaluate import Contest, Limits, broken_limits, decide, estimate_win_rate, evaluate_candidate
from training.generation import DecodingParameters
from training.judges import Judge, JudgeAccuracy, folds_of, pooled_accuracy
from training.loading import LoadedModel
from training.ppo.ordinary import OrdinaryText
from training.reporting import SilentReporter
from training.roles import Roles
from training.settings import GateSettings, LoraSettings, preset

SETTINGS = GateSettings(resamples=4000)
CALM = Limits(
    kl=4.0,
    length=20.0,
    serving_length=18.0,
    ordinary_loss=4.02,
    anchor_ordinary_loss=4.0,
    distinct_2=0.7,
    anchor_distinct_2=0.75,
)
GOOD_JUDGES = JudgeAccuracy(rankings=100, right=85.0)


def wins(judges: int, prompts: int, share: float) -> torch.Tensor:
    """Score differences by which every judge prefers the candidate on a share of the prompts."""
    row = torch.where(torch.arange(prompts) < round(share * prompts), 1.0, -1.0)
    return row.expand(judges, prompts).clone()


def test_the_win_rate_is_what_people_would_vote() -> None:
    """Judges agree with 85 % of votes and prefer the candidate on 90 %: ½ + 0.7 · 0.4 = 0.78."""
    rate, (low, high) = estimate_win_rate(wins(3, 100, 0.9), GOOD_JUDGES, SETTINGS, seed=0)
    assert rate == pytest.approx(0.78)
    assert 0.68 < low < 0.74
    assert 0.82 < high < 0.87


def test_judges_that_are_no_better_than_chance_prove_nothing() -> None:
    rate, (low, high) = estimate_win_rate(wins(3, 100, 1.0), JudgeAccuracy(100, 50.0), SETTINGS, seed=0)
    assert rate == 0.5
    assert low < 0.45 < 0.55 < high


def test_a_few_faultless_votes_are_not_taken_for_certainty() -> None:
    _, (few, _) = estimate_win_rate(wins(3, 100, 0.9), JudgeAccuracy(8, 8.0), SETTINGS, seed=0)
    _, (many, _) = estimate_win_rate(wins(3, 100, 0.9), JudgeAccuracy(800, 800.0), SETTINGS, seed=0)
    assert few < many - 0.1


def test_judges_that_disagree_widen_the_interval() -> None:
    agreeing, disagreeing = wins(3, 200, 0.7), wins(3, 200, 0.7)
    disagreeing[0], disagreeing[1] = wins(1, 200, 0.5), wins(1, 200, 0.9)
    widths = []
    for differences in (agreeing, disagreeing):
        rate, (low, high) = estimate_win_rate(differences, GOOD_JUDGES, SETTINGS, seed=0)
        assert rate == pytest.approx(0.64)
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]


def test_equal_scores_count_one_half() -> None:
    rate, _ = estimate_win_rate(torch.zeros(2, 50), GOOD_JUDGES, SETTINGS, seed=0)
    assert rate == 0.5


@pytest.mark.parametrize(
    ("win_rate", "interval", "accuracy", "limits", "verdict", "reason"),
    [
        (0.78, (0.7, 0.85), GOOD_JUDGES, CALM, "pass", "prefer the candidate on 78% of prompts"),
        (0.55, (0.46, 0.63), GOOD_JUDGES, CALM, "not enough evidence", "(95% interval 46% to 63%)"),
        (0.3, (0.2, 0.4), GOOD_JUDGES, CALM, "fail", "prefer the candidate on 30%"),
        (0.8, (0.6, 0.9), JudgeAccuracy(20, 12.0), CALM, "not enough evidence", "which may be chance"),
        (None, None, JudgeAccuracy(3, 3.0), CALM, "not enough evidence", "There are 3 votes"),
        (0.78, (0.7, 0.85), GOOD_JUDGES, replace(CALM, kl=21.0), "fail", "KL from the anchor is 21.0"),
        (None, None, JudgeAccuracy(3, 3.0), replace(CALM, kl=21.0), "fail", "KL from the anchor is 21.0"),
    ],
)
def test_verdicts(
    win_rate: float | None,
    interval: tuple[float, float] | None,
    accuracy: JudgeAccuracy,
    limits: Limits,
    verdict: str,
    reason: str,
) -> None:
    decided, reasons = decide(accuracy, win_rate, interval, limits, 96, SETTINGS)
    assert decided == verdict
    assert any(reason in each for each in reasons)


def test_few_heldout_prompts_are_not_enough() -> None:
    decided, reasons = decide(GOOD_JUDGES, 0.9, (0.8, 1.0), CALM, 5, SETTINGS)
    assert decided == "not enough evidence"
    assert "There are 5 held-out prompts" in reasons[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kl": 20.5}, "KL from the anchor is 20.5 nats per answer; the limit is 20."),
        ({"length": 60.0}, "Answers have 60 tokens where the serving version's have 18"),
        ({"length": 5.0}, "Answers have 5 tokens"),
        ({"ordinary_loss": 4.4}, "Loss on ordinary text rose by 10.0%, from 4.000 to 4.400"),
        ({"distinct_2": 0.4}, "40% of their word pairs are different, against 75%"),
    ],
)
def test_every_limit_is_named_with_its_numbers(change: dict[str, float], words: str) -> None:
    assert broken_limits(CALM, SETTINGS) == []
    broken = broken_limits(replace(CALM, **change), SETTINGS)
    assert len(broken) == 1
    assert words in broken[0]


def test_no_judge_sees_a_prompt_of_its_own_fold(anchor: LoadedModel) -> None:
    records = [
        make_record(i, anchor.chat_format, prompt=f"Hello {i % 10}") for i in range(30)
    ]  # every prompt three times
    folds = folds_of(records, 3, seed=1)
    assert sorted(record.preference_id for fold in folds for record in fold) == list(range(30))
    prompts = [{record.prompt_hash for record in fold} for fold in folds]
    assert [len(each) for each in prompts] == [4, 3, 3]
    assert not (prompts[0] & prompts[1])
    assert not (prompts[0] & prompts[2])
    assert not (prompts[1] & prompts[2])


def test_accuracy_is_pooled_over_the_folds() -> None:
    pooled = pooled_accuracy([Judge(Path("a"), 10, 9.0), Judge(Path("b"), 30, 21.5)], [])
    assert (pooled.rankings, pooled.share) == (40, 0.7625)
    assert JudgeAccuracy(0, 0.0).interval == (0.0, 1.0)


def test_distinct_2_is_compared_at_the_same_amount_of_text() -> None:
    answers = Answers(((1,), (1,)), ((5, 6, 5, 6), (7, 8)))
    assert bigram_count(answers) == 4
    assert distinct_2(answers) == 0.75  # (5,6) (6,5) (5,6) (7,8)
    assert distinct_2(answers, 2) == 1.0
    assert math.isnan(distinct_2(Answers(((1,),), ((5,),))))


def test_an_unchanged_candidate_has_no_kl_and_the_anchors_loss(anchor: LoadedModel) -> None:
    prompts = [[{"role": "user", "content": "Hello"}]]
    with Roles(anchor, FLOAT32) as roles:
        roles.add("candidate", LoraSettings(rank=2, alpha=2), seed=0)
        answers = answer(roles, "candidate", prompts, DecodingParameters(max_new_tokens=6), [3])
        assert answers == answer(roles, None, prompts, DecodingParameters(max_new_tokens=6), [3])
        assert kl_per_answer(roles, "candidate", answers, max_batch_tokens=100) == pytest.approx(0, abs=1e-5)
        text = OrdinaryText(SENTENCES, anchor.chat_format, 16, seed=0)
        assert ordinary_loss(roles, "candidate", text, 3) == pytest.approx(
            ordinary_loss(roles, None, text, 3)
        )
        rows = text.rows(3)
        expected = anchor.model(rows, attention_mask=torch.ones_like(rows), labels=rows).loss
        assert ordinary_loss(roles, None, text, 3) == pytest.approx(float(expected), abs=1e-4)


def test_a_candidate_that_is_the_anchor_is_never_passed(anchor: LoadedModel, tmp_path: Path) -> None:
    settings = preset("tiny")
    with Roles(anchor, FLOAT32) as roles:
        roles.add("policy", LoraSettings(rank=2, alpha=2), seed=0)
        roles.save("policy", tmp_path / "candidate")
    contest = Contest(
        anchor=anchor,
        candidate=tmp_path / "candidate",
        serving=None,
        records=make_records(16, anchor.chat_format),
        prompts=[[{"role": "user", "content": f"Good day {i}"}] for i in range(6)],
        ordinary_text=SENTENCES,
    )
    report = evaluate_candidate(
        contest,
        settings=settings.gate,
        reward_settings=settings.reward,
        numerics=FLOAT32,
        numerics_settings=settings.numerics,
        folder=tmp_path / "gate",
        seed=0,
        reporter=SilentReporter(),
    )
    assert report.verdict == "not enough evidence"
    assert report.win_rate == 0.5  # the same answers to the same seeds
    assert report.judge_accuracy.rankings == 16
    assert report.as_dict()["limits"]["kl"] == pytest.approx(0, abs=1e-4)
    assert [sample["candidate"] == sample["serving"] for sample in report.samples] == [True, True]
