"""Trains a reward model on a snapshot's rankings and sets its unit by the reference policy's own completions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import RewardConfig

from feedback.dataset import SnapshotRecord
from training.errors import TrainingError
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel
from training.numerics import Numerics
from training.reporting import Reporter
from training.reward.data import RankedPrompt, RankingCollator, fitted_prompt, ranked_prompts
from training.reward.health import measure_health
from training.reward.loss import standardisation
from training.reward.model import REWARD, RewardRecord, raw_scores
from training.reward.trainer import EpochWatch, RankingTrainer, RoleScorer
from training.roles import Roles
from training.seeds import derive_seed, generator_for
from training.settings import RewardSettings


class NothingToLearn(TrainingError):
    """A snapshot that no reward model can learn from."""

    code = "nothing_to_learn"


@dataclass(frozen=True, slots=True)
class RewardResult:
    """Where the reward model was written, after how many epochs, and its numbers by name."""

    folder: Path
    epochs: int
    metrics: dict[str, float]


def train_reward(
    *,
    records: Sequence[SnapshotRecord],
    anchor: LoadedModel,
    settings: RewardSettings,
    numerics: Numerics,
    folder: Path,
    seed: int,
    reporter: Reporter,
) -> RewardResult:
    """Train an adapter and a head on `records`, standardise, and write them to `folder`.

    A tenth of the prompts (`heldout_share`) is kept apart for early stopping when there are enough of them.
    Raises NothingToLearn for all ties or one prompt only, LossNotFinite, and what the reporter raises.
    """
    max_tokens = min(settings.max_tokens, anchor.context_length)
    prompts = ranked_prompts(records, anchor.chat_format, max_tokens)
    _check(prompts)
    _tell_cuts(prompts, max_tokens, reporter)
    learned, heldout = split_heldout(prompts, settings, seed)
    with Roles(anchor, numerics) as roles:
        roles.add(REWARD, settings.lora, seed=derive_seed(seed, "reward adapter"), has_head=True)
        watch = _fit(roles, learned, heldout, settings, seed, folder, reporter)
        mean, deviation = _measure_unit(roles, records, settings, max_tokens, seed)
        metrics = _metrics(roles, heldout, watch)
        roles.save(REWARD, folder)
    RewardRecord(mean, deviation, max_tokens, metrics, settings.model_dump()).write(folder)
    reporter.log(_summary(len(records), len(prompts), watch, metrics))
    return RewardResult(folder, watch.best_epoch, metrics)


def split_heldout(
    prompts: Sequence[RankedPrompt], settings: RewardSettings, seed: int
) -> tuple[list[RankedPrompt], list[RankedPrompt]]:
    """Keep a share of the prompts apart for early stopping; none where they are too few to spare any."""
    if len(prompts) < settings.min_prompts_for_heldout:
        return list(prompts), []
    order = torch.randperm(len(prompts), generator=generator_for(seed, "reward heldout")).tolist()
    count = round(len(prompts) * settings.heldout_share)
    return [prompts[i] for i in sorted(order[count:])], [prompts[i] for i in sorted(order[:count])]


def _check(prompts: Sequence[RankedPrompt]) -> None:
    if len(prompts) < 2:
        raise NothingToLearn(
            f"All comparisons are about {len(prompts)} prompt; a reward model needs at least 2 different ones to see "
            "what an answer's quality does not depend on. Compare answers to other messages as well."
        )
    rankings = [ranks for prompt in prompts for ranks in prompt.ranks]
    if all(len(set(ranks)) == 1 for ranks in rankings):
        raise NothingToLearn(
            f"All {len(rankings)} comparisons are ties, so nothing says which answers are better. "
            "Choose a side in some of them."
        )


def _tell_cuts(prompts: Sequence[RankedPrompt], max_tokens: int, reporter: Reporter) -> None:
    cut = sum(prompt.is_cut for prompt in prompts)
    if cut:
        reporter.log(
            f"{cut} of {len(prompts)} prompts were over {max_tokens} tokens and lost their oldest turns."
        )


def _fit(
    roles: Roles,
    learned: Sequence[RankedPrompt],
    heldout: Sequence[RankedPrompt],
    settings: RewardSettings,
    seed: int,
    folder: Path,
    reporter: Reporter,
) -> EpochWatch:
    """Run the trainer, and leave the role with the weights of its best epoch."""
    tokenizer = roles.anchor.chat_format.tokenizer
    collator = RankingCollator(roles.anchor.chat_format.pad_token_id)
    watch = EpochWatch(
        roles=roles,
        role=REWARD,
        reporter=reporter,
        heldout=collator([prompt.as_row() for prompt in heldout]) if heldout else None,
        tie_margin=settings.tie_margin,
        patience=settings.patience,
    )
    with roles.playing(REWARD):
        trainer = RankingTrainer(
            model=RoleScorer(roles, REWARD),
            args=_arguments(settings, roles.numerics, folder, derive_seed(seed, "reward") % 2**31),
            train_dataset=Dataset.from_list([prompt.as_row() for prompt in learned]),
            processing_class=tokenizer,
            data_collator=collator,
            tie_margin=settings.tie_margin,
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)  # the reporter tells what there is to tell
        trainer.train()
        watch.restore_best()
    return watch


def _arguments(settings: RewardSettings, numerics: Numerics, folder: Path, seed: int) -> RewardConfig:
    """TRL's arguments; what it turns on by itself (bf16, checkpointing, reports, files) is said to be off."""
    with warnings.catch_warnings():  # TRL 1.16 sets fields that transformers 5.23 has renamed
        warnings.filterwarnings("ignore", "`gradient_checkpointing`", FutureWarning)
        return RewardConfig(
            output_dir=str(folder),
            per_device_train_batch_size=settings.batch_prompts,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_share,
            lr_scheduler_type="cosine",
            max_grad_norm=1.0,
            weight_decay=0.0,
            seed=seed,
            max_length=None,
            bf16=False,  # precision is the roles' own
            gradient_checkpointing=False,
            use_cpu=numerics.device == "cpu",
            dataloader_pin_memory=numerics.device != "cpu",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


def _measure_unit(
    roles: Roles, records: Sequence[SnapshotRecord], settings: RewardSettings, max_tokens: int, seed: int
) -> tuple[float, float]:
    """Mean and deviation of raw scores over the reference policy's completions of the records' prompts."""
    chat_format = roles.anchor.chat_format
    count = settings.reference_completions
    new_tokens = min(settings.max_new_tokens, max_tokens - 1)
    distinct = list({record.prompt_hash: record.prompt for record in records}.values())
    encoded = [fitted_prompt(prompt, chat_format, max_tokens - new_tokens)[0] for prompt in distinct]
    prompts = [encoded[i % len(encoded)] for i in range(count)]
    sampled = sample_completions(
        roles.language_model,
        prompts,
        parameters=DecodingParameters(max_new_tokens=new_tokens),
        seeds=[derive_seed(seed, "reference completion", i) for i in range(count)],
        end_token_id=chat_format.end_token_id,
        pad_token_id=chat_format.pad_token_id,
    )
    sequences = [[*prompt, *one.token_ids] for prompt, one in zip(prompts, sampled, strict=True)]
    try:
        return standardisation(raw_scores(roles, REWARD, sequences))
    except ValueError as error:
        raise NothingToLearn(
            f"The reward model gives every answer the same score ({error}). "
            "Collect more comparisons, or raise reward.epochs."
        ) from error


def _metrics(roles: Roles, heldout: Sequence[RankedPrompt], watch: EpochWatch) -> dict[str, float]:
    metrics: dict[str, float] = {"epochs": float(watch.best_epoch)}
    if heldout:
        sequences = [sequence for prompt in heldout for sequence in prompt.sequences]
        health = measure_health(raw_scores(roles, REWARD, sequences), heldout)
        metrics |= {**health.as_metrics("heldout"), "heldout_loss": watch.best_loss}
    return metrics


def _summary(records: int, prompts: int, watch: EpochWatch, metrics: dict[str, Any]) -> str:
    learned = f"Reward model: {records} rankings of {prompts} prompts, {watch.best_epoch} epochs"
    if "heldout_accuracy" not in metrics:
        return f"{learned}; too few prompts to keep any apart for measuring it."
    return (
        f"{learned}; right on {metrics['heldout_accuracy']:.0%} of {metrics['heldout_pairs']:.0f} held-out pairs "
        f"({metrics['heldout_accuracy_low']:.0%} to {metrics['heldout_accuracy_high']:.0%}); "
        f"always the longer: {metrics['heldout_longer_accuracy']:.0%}."
    )
