"""Fine-tunes a base model on conversations: cross-entropy on the answers, each end of turn included.

The loop is our own rather than TRL's SFTTrainer: it keeps to a time budget, resumes from the same crash-safe
checkpoints as pretraining and adds GPT-1's auxiliary loss in one line; each would mean overriding the
trainer's inner step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from training.chat_format import ChatFormat
from training.checkpoint import Progress, fingerprint, restore_checkpoint, save_checkpoint
from training.corpus import Corpus, CorpusError, Document, Recipe, SourceRecipe, read_corpus, read_recipe
from training.demonstrations import Batch, Example, ExampleBatches, collate, cut_conversation, make_example
from training.export import export_model
from training.language_modelling import loss_line, make_optimizer, step_optimizer
from training.loading import load_language_model
from training.numerics import Numerics, Precision, kept_precision, probe_numerics
from training.pace import Clock, Length
from training.pretrain import report_corpus

Report = Callable[[str], None]
_HELD_OUT_EXAMPLES = 64


class SftSettings(BaseModel):
    """Base model, conversations and length of a fine-tuning run; give `minutes` or `steps`.

    `demonstrations` is one more file, taken `demonstration_passes` times for each pass over the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    output_dir: Path
    data_dir: Path | None = None
    recipe: Path | None = None
    demonstrations: Path | None = None
    demonstration_passes: float = Field(default=10, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, gt=0)
    seed: int = 0
    tokens_per_batch: int = Field(default=4096, ge=64)
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    auxiliary_weight: float = Field(default=0.0, ge=0)
    checkpoint_minutes: float = Field(default=4, gt=0)
    validate_steps: int = Field(default=250, ge=1)
    compile_model: bool | None = False  # batches come in many shapes: compiling pays on long runs only
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> SftSettings:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("Give the length of the run either in minutes or in steps.")
        if self.data_dir is None and self.demonstrations is None:
            raise ValueError(
                "Give conversations to learn from: a data folder, a demonstrations file, or both."
            )
        return self

    @property
    def checkpoint_dir(self) -> Path:
        return self.output_dir / "checkpoint"

    @property
    def model_dir(self) -> Path:
        return self.output_dir / "model"


@dataclass(frozen=True, slots=True)
class SftResult:
    """The fine-tuned model folder and what the run measured."""

    model_dir: Path
    steps: int
    tokens: int
    examples: Mapping[str, int]
    heldout_loss: Mapping[str, float]


def sft(settings: SftSettings, report: Report = print) -> SftResult:
    """Fine-tune, resuming from the output folder's checkpoint where there is one."""
    # 1. Model and numerics
    torch.manual_seed(settings.seed)
    numerics = kept_precision(
        settings.output_dir,
        probe_numerics(precision=settings.precision, compile_model=settings.compile_model),
    )
    loaded = load_language_model(settings.base, device=numerics.device)
    model, chat_format = loaded.model, loaded.chat_format
    _set_dropout(model, settings.dropout)
    optimizer = make_optimizer(model, weight_decay=settings.weight_decay)
    report(f"fine-tuning {settings.base}; {numerics.reason}")

    # 2. Examples
    corpora = _corpora(settings)
    for corpus in corpora:
        report_corpus(corpus, report)
    examples, weights = _examples(corpora, chat_format, loaded.context_length)
    heldout = _heldout(corpora, chat_format, loaded.context_length)
    batches = ExampleBatches(
        [example for members in examples.values() for example in members],
        [weights[source] for source, members in examples.items() for _ in members],
        tokens_per_batch=settings.tokens_per_batch,
        pad_id=chat_format.pad_token_id,
        seed=settings.seed,
    )
    counts = {source: len(members) for source, members in examples.items()}
    report(", ".join(f"{count:,} examples of {source}" for source, count in counts.items()))

    # 3. Steps
    run = fingerprint(
        settings.model_dump(exclude={"output_dir", "minutes", "steps", "compile_model", "checkpoint_minutes"})
    )
    progress = restore_checkpoint(settings.checkpoint_dir, model=model, optimizer=optimizer, run=run)
    loss_of = torch.compile(sft_loss) if numerics.is_compiled else sft_loss
    clock = Clock(Length(settings.steps, settings.minutes), progress or Progress())
    saved_at, running_loss = clock.progress.seconds, 0.0
    model.train()
    while not clock.is_over:
        # A resumed run must meet the dropout that an unbroken one would.
        torch.manual_seed(settings.seed + clock.progress.step)
        batch = batches.batch(clock.progress.step)
        with numerics.autocast():
            loss = loss_of(model, batch.to(numerics.device), settings.auxiliary_weight)
        torch.autograd.backward(loss)
        step_optimizer(optimizer, model, peak=settings.learning_rate, share_done=clock.share_done)
        clock.advance(int(batch.attention_mask.sum()))
        running_loss = loss.item() if not running_loss else 0.95 * running_loss + 0.05 * loss.item()
        if clock.progress.step % 25 == 0:
            report(clock.line(running_loss))
        if clock.progress.step % settings.validate_steps == 0:
            report(loss_line(_heldout_losses(model, heldout, numerics)))
        if clock.progress.seconds - saved_at > 60 * settings.checkpoint_minutes:
            save_checkpoint(
                settings.checkpoint_dir, model=model, optimizer=optimizer, progress=clock.progress, run=run
            )
            saved_at = clock.progress.seconds

    # 4. The fine-tuned model
    save_checkpoint(
        settings.checkpoint_dir, model=model, optimizer=optimizer, progress=clock.progress, run=run
    )
    losses = _heldout_losses(model, heldout, numerics)
    report(loss_line(losses))
    _set_dropout(model, 0.0)
    export_model(model, chat_format, settings.model_dir)
    result = SftResult(settings.model_dir, clock.progress.step, clock.progress.tokens, counts, losses)
    record = {"settings": settings.model_dump(), **asdict(result)}
    (settings.output_dir / "sft.json").write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
    return result


def sft_loss(model: nn.Module, batch: Batch, auxiliary_weight: float) -> Tensor:
    """L2 + λ·L1: mean over the assistant's tokens, plus λ times the mean over all others (GPT, 2018)."""
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    loss = _mean_loss(logits, batch.answer_targets)
    if auxiliary_weight:
        loss = loss + auxiliary_weight * _mean_loss(logits, batch.prompt_targets)
    return loss


def _mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of `targets` (batch, time), each predicted one place before it; −100 is left out."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten())


def _corpora(settings: SftSettings) -> list[Corpus]:
    corpora = []
    if settings.data_dir is not None:
        corpora.append(
            read_corpus(settings.data_dir, read_recipe(settings.recipe) if settings.recipe else None)
        )
    if settings.demonstrations is not None:
        source = SourceRecipe(
            file=settings.demonstrations.name, sft=settings.demonstration_passes, max_messages=1000
        )
        corpora.append(read_corpus(settings.demonstrations.parent, Recipe(sources=(source,))))
    return corpora


def _examples(
    corpora: list[Corpus], chat_format: ChatFormat, context_length: int
) -> tuple[dict[str, list[Example]], dict[str, float]]:
    sources = {source.file: source for corpus in corpora for source in corpus.recipe.sources if source.sft}
    documents = [document for corpus in corpora for document in corpus.training]
    examples = _encode(documents, sources, chat_format, context_length)
    if not examples:
        raise CorpusError(
            "No conversation with an assistant's answer was found. Fine-tuning needs records with "
            '"messages" that hold a user and an assistant turn.'
        )
    return examples, {file: source.sft for file, source in sources.items()}


def _encode(
    documents: list[Document],
    sources: Mapping[str, SourceRecipe],
    chat_format: ChatFormat,
    context_length: int,
) -> dict[str, list[Example]]:
    examples: dict[str, list[Example]] = {}
    for document in documents:
        if document.source in sources and document.messages:
            for messages in cut_conversation(document, sources[document.source]):
                example = make_example(messages, chat_format, context_length=context_length)
                if example:
                    examples.setdefault(document.source, []).append(example)
    return examples


def _heldout(corpora: list[Corpus], chat_format: ChatFormat, context_length: int) -> dict[str, Batch]:
    sources = {source.file: source for corpus in corpora for source in corpus.recipe.sources if source.sft}
    documents = [document for corpus in corpora for document in corpus.heldout]
    return {
        source: collate(members[:_HELD_OUT_EXAMPLES], pad_id=chat_format.pad_token_id)
        for source, members in _encode(documents, sources, chat_format, context_length).items()
    }


@torch.no_grad()
def _heldout_losses(model: nn.Module, heldout: Mapping[str, Batch], numerics: Numerics) -> dict[str, float]:
    """Loss per assistant's token of each source's held-out conversations."""
    model.eval()
    losses = {}
    for source, batch in heldout.items():
        with numerics.autocast():
            losses[source] = float(sft_loss(model, batch.to(numerics.device), 0.0))
    model.train()
    return losses


def _set_dropout(model: Any, probability: float) -> None:
    """Set dropout on embeddings and residuals; attention keeps none, for its fast kernels have none."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and "attn_dropout" not in name:
            module.p = probability
