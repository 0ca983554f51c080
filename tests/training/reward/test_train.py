"""Reward training on a random two-layer model: it learns a taste, sets its unit, and refuses what teaches nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import RewardTrainer

from tests.training.material import FLOAT32, make_record, make_records
from training.errors import JobCancelled
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel
from training.reporting import SilentReporter
from training.reward.data import ranked_prompts
from training.reward.health import measure_health
from training.reward.model import RewardModel, RewardRecord
from training.reward.train import NothingToLearn, split_heldout, train_reward
from training.reward.trainer import LossNotFinite, RankingTrainer
from training.seeds import derive_seed
from training.settings import LoraSettings, RewardSettings

QUICK = RewardSettings(
    min_prompts_for_heldout=30,
    lora=LoraSettings(rank=8, alpha=16),
    learning_rate=1e-2,
    epochs=4,
    reference_completions=16,
    max_new_tokens=8,
)


def train(
    anchor: LoadedModel, folder: Path, records: Any, settings: RewardSettings = QUICK, **kwargs: Any
) -> Any:
    options = {"numerics": FLOAT32, "seed": 0, "reporter": SilentReporter(), **kwargs}
    return train_reward(records=records, anchor=anchor, settings=settings, folder=folder, **options)


def test_it_learns_who_likes_questions_on_prompts_it_has_not_seen(
    anchor: LoadedModel, tmp_path: Path
) -> None:
    records = make_records(60, anchor.chat_format)
    result = train(anchor, tmp_path, records[:44])
    unseen = ranked_prompts(records[44:], anchor.chat_format, 128)
    model = RewardModel.load(tmp_path, anchor, numerics=FLOAT32)
    scores = model.raw_scores([sequence for prompt in unseen for sequence in prompt.sequences])
    assert measure_health(scores, unseen).accuracy >= 0.9
    assert result.metrics["heldout_pairs"] == 4  # a tenth of 44 prompts, for early stopping


def test_the_unit_is_that_of_the_reference_policys_answers(anchor: LoadedModel, tmp_path: Path) -> None:
    records = make_records(8, anchor.chat_format)
    train(anchor, tmp_path, records, replace_epochs(1))
    chat_format = anchor.chat_format
    prompts = [chat_format.prompt_ids([m.as_dict() for m in records[i % 8].prompt]) for i in range(16)]
    sampled = sample_completions(
        anchor.model,
        prompts,
        parameters=DecodingParameters(max_new_tokens=8),
        seeds=[derive_seed(0, "reference completion", i) for i in range(16)],
        end_token_id=chat_format.end_token_id,
        pad_token_id=chat_format.pad_token_id,
    )
    model = RewardModel.load(tmp_path, anchor, numerics=FLOAT32)
    scores = model.scores(prompts, [one.token_ids for one in sampled])
    assert float(scores.mean()) == pytest.approx(0, abs=1e-4)
    assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)


def replace_epochs(epochs: int) -> RewardSettings:
    return QUICK.model_copy(update={"epochs": epochs})


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    anchor: LoadedModel, tmp_path: Path
) -> None:
    records = make_records(8, anchor.chat_format)
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        train(anchor, folder, records, replace_epochs(1), seed=seed)
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]


def test_training_leaves_the_anchor_as_it_was(anchor: LoadedModel, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in anchor.model.state_dict().items()}
    train(anchor, tmp_path, make_records(8, anchor.chat_format), replace_epochs(1))
    after = anchor.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_ties_only_teach_nothing(anchor: LoadedModel, tmp_path: Path) -> None:
    records = [make_record(i, anchor.chat_format, ranks=(1, 1)) for i in range(5)]
    with pytest.raises(NothingToLearn, match="All 5 comparisons are ties"):
        train(anchor, tmp_path, records)


def test_one_prompt_only_teaches_too_little(anchor: LoadedModel, tmp_path: Path) -> None:
    records = [make_record(i, anchor.chat_format, prompt="Hello") for i in range(5)]
    with pytest.raises(NothingToLearn, match="All comparisons are about 1 prompt"):
        train(anchor, tmp_path, records)


def test_completions_that_are_empty_or_have_no_end_are_learned_from(
    anchor: LoadedModel, tmp_path: Path
) -> None:
    records = make_records(6, anchor.chat_format)
    empty = replace(
        records[0], completions=("", "Yes."), token_ids=((), (20, 21)), finish_reasons=("length",) * 2
    )
    train(anchor, tmp_path, [empty, *records[1:]], replace_epochs(1))
    assert RewardRecord.read(tmp_path).deviation > 0


def test_a_loss_that_is_not_finite_ends_training_by_name(anchor: LoadedModel, tmp_path: Path) -> None:
    with torch.no_grad():
        anchor.model.get_input_embeddings().weight.fill_(float("inf"))
    with pytest.raises(LossNotFinite, match="The reward loss became nan at step 0"):
        train(anchor, tmp_path, make_records(6, anchor.chat_format))


def test_a_cancellation_passes_through(anchor: LoadedModel, tmp_path: Path) -> None:
    class Stop(SilentReporter):
        def phase(self, name: str, progress: float) -> None:
            raise JobCancelled(7)

    with pytest.raises(JobCancelled):
        train(anchor, tmp_path, make_records(6, anchor.chat_format), reporter=Stop())


def test_the_heldout_prompts_are_a_tenth_and_none_of_few(anchor: LoadedModel) -> None:
    prompts = ranked_prompts(make_records(40, anchor.chat_format), anchor.chat_format, 128)
    learned, heldout = split_heldout(prompts, QUICK, seed=3)
    assert (len(learned), len(heldout)) == (36, 4)
    assert not {prompt.prompt_hash for prompt in learned} & {prompt.prompt_hash for prompt in heldout}
    assert split_heldout(prompts[:29], QUICK, seed=3)[1] == []


@pytest.mark.parametrize("hook", ["_prepare_dataset", "_set_signature_columns_if_needed", "compute_loss"])
def test_trl_still_has_the_hooks_that_the_subclass_takes_over(hook: str) -> None:
    """A canary: when TRL renames one, ours would be dead code and rankings be trained as something else."""
    assert hook in vars(RewardTrainer)
    assert hook in vars(RankingTrainer)


def test_every_completion_of_a_ranking_passes_once_per_epoch(
    anchor: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    embed = anchor.model.get_input_embeddings().forward

    def counted(input_ids: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            rows.append(len(input_ids))
        embedded: torch.Tensor = embed(input_ids)
        return embedded

    monkeypatch.setattr(anchor.model.get_input_embeddings(), "forward", counted)
    texts = ("Yes.", "No.", "I love pizza.", "And you?")
    records = [make_record(i, anchor.chat_format, texts=texts, ranks=(1, 2, 3, 4)) for i in range(6)]
    train(anchor, tmp_path, records, replace_epochs(1))
    assert sum(rows) == 24  # 6 prompts of 4 completions, and not 6 · 2 · C(4, 2)
