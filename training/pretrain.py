"""Pretrains a small GPT-2 from nothing on a folder of text: tokenizer, packed rows, next-token loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from training.chat_format import ChatFormat
from training.checkpoint import Progress, fingerprint, restore_checkpoint, save_checkpoint
from training.corpus import Corpus, read_corpus, read_recipe
from training.export import export_model
from training.language_modelling import (
    heldout_losses,
    loss_line,
    make_optimizer,
    next_token_loss,
    parameter_count,
    step_optimizer,
)
from training.numerics import Precision, kept_precision, probe_numerics
from training.pace import Clock, Length
from training.packing import PackedRows, pack
from training.tokenizer import train_tokenizer

Report = Callable[[str], None]
_HELD_OUT_ROWS = 8


class PretrainSettings(BaseModel):
    """Data, size and length of a pretraining run; give `minutes` or `steps`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    output_dir: Path
    recipe: Path | None = None
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    seed: int = 0
    vocab_size: int = Field(default=6144, ge=300, le=65_536)
    context_length: int = Field(default=512, ge=16)
    n_layer: int = Field(default=6, ge=1)
    n_head: int = Field(default=6, ge=1)
    n_embd: int = Field(default=288, ge=8)
    rows_per_step: int = Field(default=8, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1.5e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    checkpoint_minutes: float = Field(default=4, gt=0)
    validate_steps: int = Field(default=250, ge=1)
    compile_model: bool | None = None
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> PretrainSettings:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("Give the length of the run either in minutes or in steps.")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; "
                f"choose n_embd {self.n_embd - self.n_embd % self.n_head} or another number of heads."
            )
        return self

    @property
    def checkpoint_dir(self) -> Path:
        return self.output_dir / "checkpoint"

    @property
    def model_dir(self) -> Path:
        return self.output_dir / "model"


@dataclass(frozen=True, slots=True)
class PretrainResult:
    """The finished model folder and what the run measured."""

    model_dir: Path
    steps: int
    tokens: int
    parameters: int
    heldout_loss: Mapping[str, float]


def pretrain(settings: PretrainSettings, report: Report = print) -> PretrainResult:
    """Train tokenizer and model, resuming from the output folder's checkpoint where there is one."""
    # 1. Text
    corpus = read_corpus(settings.data_dir, read_recipe(settings.recipe) if settings.recipe else None)
    report_corpus(corpus, report)
    chat_format = _tokenizer_of_run(settings, corpus, report)
    weights = {source.file: source.pretrain for source in corpus.recipe.sources}
    rows = PackedRows(
        pack(
            [document for document in corpus.training if weights[document.source]],
            chat_format,
            seed=settings.seed,
        ),
        weights,
        context_length=settings.context_length,
        seed=settings.seed,
    )
    heldout = heldout_rows(corpus, chat_format, context_length=settings.context_length)
    report(f"{rows.rows_per_epoch * settings.context_length:,} tokens make one pass over the weighted corpus")

    # 2. Model and numerics
    torch.manual_seed(settings.seed)
    numerics = kept_precision(
        settings.output_dir,
        probe_numerics(precision=settings.precision, compile_model=settings.compile_model),
    )
    model = _new_model(settings, chat_format).to(numerics.device)
    optimizer = make_optimizer(model, weight_decay=settings.weight_decay)
    report(f"{parameter_count(model):,} parameters; {numerics.reason}")
    run = fingerprint(
        settings.model_dump(exclude={"output_dir", "minutes", "steps", "compile_model", "checkpoint_minutes"})
    )
    progress = restore_checkpoint(settings.checkpoint_dir, model=model, optimizer=optimizer, run=run)
    if progress:
        report(f"resuming at step {progress.step:,}")

    # 3. Steps
    loss_of = torch.compile(next_token_loss) if numerics.is_compiled else next_token_loss
    clock = Clock(Length(settings.steps, settings.minutes), progress or Progress())
    saved_at, running_loss = clock.progress.seconds, 0.0
    while not clock.is_over:
        step = clock.progress.step
        for part in range(settings.accumulation):
            first = (step * settings.accumulation + part) * settings.rows_per_step
            batch = rows.batch(first, settings.rows_per_step).to(numerics.device)
            with numerics.autocast():
                loss = loss_of(model, batch)
            torch.autograd.backward(loss / settings.accumulation)
        step_optimizer(optimizer, model, peak=settings.learning_rate, share_done=clock.share_done)
        clock.advance(settings.rows_per_step * settings.accumulation * settings.context_length)
        running_loss = loss.item() if not running_loss else 0.95 * running_loss + 0.05 * loss.item()
        if clock.progress.step % 25 == 0:
            report(clock.line(running_loss))
        if clock.progress.step % settings.validate_steps == 0:
            report(loss_line(heldout_losses(model, heldout, numerics)))
        if clock.progress.seconds - saved_at > 60 * settings.checkpoint_minutes:
            save_checkpoint(
                settings.checkpoint_dir, model=model, optimizer=optimizer, progress=clock.progress, run=run
            )
            saved_at = clock.progress.seconds

    # 4. The finished base model
    save_checkpoint(
        settings.checkpoint_dir, model=model, optimizer=optimizer, progress=clock.progress, run=run
    )
    losses = heldout_losses(model, heldout, numerics)
    report(loss_line(losses))
    export_model(model, chat_format, settings.model_dir)
    result = PretrainResult(
        settings.model_dir, clock.progress.step, clock.progress.tokens, parameter_count(model), losses
    )
    record = {"settings": settings.model_dump(), "counts": corpus.counts, **asdict(result)}
    (settings.output_dir / "pretraining.json").write_text(json.dumps(record, indent=1, default=str))
    return result


def report_corpus(corpus: Corpus, report: Report) -> None:
    """Say what was read, source by source, and name the first bad records."""
    for source, counts in corpus.counts.items():
        report(f"{source}: " + ", ".join(f"{count:,} {step}" for step, count in counts.items()))
    for bad in corpus.bad_records[:10]:
        report(f"left out {bad}")
    if len(corpus.bad_records) > 10:
        report(f"… and {len(corpus.bad_records) - 10} more bad records")


def heldout_rows(corpus: Corpus, chat_format: ChatFormat, *, context_length: int) -> dict[str, Tensor]:
    """A few packed rows of every source's held-out documents."""
    rows = {}
    for source, stream in pack(corpus.heldout, chat_format, seed=0).items():
        packed = PackedRows({source: stream}, {source: 1.0}, context_length=context_length, seed=0)
        rows[source] = packed.batch(0, min(_HELD_OUT_ROWS, packed.rows_per_epoch))
    return rows


def _tokenizer_of_run(settings: PretrainSettings, corpus: Corpus, report: Report) -> ChatFormat:
    """Train the tokenizer, or take the one that this run trained before it was interrupted."""
    folder = settings.output_dir / "tokenizer"
    if folder.exists():
        return ChatFormat.from_folder(folder)
    tokenizer = train_tokenizer(
        _tokenizer_texts(corpus), vocab_size=settings.vocab_size, context_length=settings.context_length
    )
    tokenizer.save_pretrained(folder)
    report(f"tokenizer with {len(tokenizer):,} tokens trained")
    return ChatFormat(tokenizer)


def _tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    """The corpus as the model will meet it: a source of weight 0.2 shows every fifth document."""
    weights = {source.file: source.pretrain for source in corpus.recipe.sources}
    for index, document in enumerate(corpus.training):
        weight = weights[document.source]
        if weight >= 1 or (weight > 0 and index % round(1 / weight) == 0):
            yield document.words


def _new_model(settings: PretrainSettings, chat_format: ChatFormat) -> Any:
    config = GPT2Config(
        vocab_size=chat_format.vocab_size,
        n_positions=settings.context_length,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        n_embd=settings.n_embd,
        resid_pdrop=0.0,  # a corpus seen for a pass or two cannot be memorised
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=chat_format.start_token_id,
        eos_token_id=chat_format.end_token_id,
        pad_token_id=chat_format.pad_token_id,
    )
    return GPT2LMHeadModel(config)
