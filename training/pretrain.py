"""Pretrains a small GPT on a folder of text, from nothing or from another model: packed rows, next-token loss.

Started by torchrun, the same command shares every batch among the processes and ends with the same model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.chat_format import ChatFormat
from training.checkpoint import CheckpointMismatchError, fingerprint
from training.corpus import Corpus, corpus_of, report_corpus
from training.export import export_model
from training.language_modelling import heldout_losses, next_token_loss, parameter_count
from training.learning_run import Report, learn, silent
from training.learning_settings import PretrainSettings
from training.loading import ModelFolderError, load_language_model
from training.new_model import new_model
from training.numerics import Numerics, kept_precision, probe_numerics
from training.packing import PackedRows
from training.ranks import Ranks, joined_ranks
from training.shards import Shards, open_shards, write_shards
from training.tokenizer import train_tokenizer
from training.whole_files import whole

_HELD_OUT_ROWS = 8
_CORPUS_SETTINGS = {
    "data_dir", "recipe", "demonstrations", "demonstration_passes", "keep_out", "start", "vocab_size", "context_length",
    "seed",
}  # fmt: skip


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
    with joined_ranks() as ranks:
        report = report if ranks.is_first else silent

        # 1. Text
        if ranks.is_first:
            _prepare(settings, report)
        ranks.wait()
        chat_format = ChatFormat.from_folder(settings.output_dir / "tokenizer")
        shards = open_shards(settings.output_dir / "shards")
        assert shards is not None  # the first rank has just written them

        # 2. Model and numerics
        torch.manual_seed(settings.seed)
        numerics = kept_precision(
            settings.output_dir,
            probe_numerics(
                device=ranks.device, precision=settings.precision, compile_model=settings.compile_model
            ),
            ranks,
        )
        model = _model(settings, chat_format).to(numerics.device)
        report(f"{parameter_count(model):,} parameters; {numerics.reason}")

        # 3. Steps
        material = Rows(settings, shards, model, numerics, ranks)
        report(f"{material.tokens_per_pass:,} tokens make one pass over the weighted corpus")
        outcome = learn(settings, model, material, ranks, report)

        # 4. The finished base model
        result = PretrainResult(
            settings.model_dir,
            outcome.progress.step,
            outcome.progress.tokens,
            parameter_count(model),
            outcome.heldout_loss,
        )
        if ranks.is_first:
            export_model(model, chat_format, settings.model_dir)
            _write_record(settings, shards, result)
        report(
            f"The model is in {result.model_dir}: {result.parameters:,} parameters, {result.tokens:,} tokens."
        )
        ranks.wait()
        return result


class Rows:
    """Packed rows as the material of a run, and rows of every source's held-out part."""

    def __init__(
        self, settings: PretrainSettings, shards: Shards, model: nn.Module, numerics: Numerics, ranks: Ranks
    ) -> None:
        self._settings, self._model = settings, model
        self._numerics, self._ranks = numerics, ranks
        self._rows = PackedRows(
            shards.training, shards.weights, context_length=settings.context_length, seed=settings.seed
        )
        self._heldout = heldout_rows(shards, context_length=settings.context_length)
        self._loss = torch.compile(next_token_loss) if numerics.is_compiled else next_token_loss

    @property
    def tokens_per_pass(self) -> int:
        """How many tokens make one pass over the weighted corpus."""
        return self._rows.rows_per_epoch * self._settings.context_length

    def backward(self, step: int, part: int) -> tuple[float, int]:
        """Each rank takes some rows of the batch, and counts by its share of the rows of the whole step."""
        settings = self._settings
        first = (step * settings.accumulation + part) * settings.rows_per_step
        numbers = self._ranks.share(range(first, first + settings.rows_per_step))
        tokens = settings.rows_per_step * settings.context_length
        if not numbers:  # the batch has fewer rows than there are ranks
            return 0.0, tokens
        batch = self._rows.rows(numbers).to(self._numerics.device)
        with self._numerics.autocast():
            loss = self._loss(self._model, batch)
        share = len(numbers) / settings.rows_per_step
        torch.autograd.backward(loss * (share / settings.accumulation))
        return loss.item(), tokens

    def heldout_losses(self) -> Mapping[str, float]:
        """Next-token loss of each source's held-out rows."""
        return heldout_losses(self._model, self._heldout, self._numerics)


def heldout_rows(shards: Shards, *, context_length: int) -> dict[str, Tensor]:
    """A few packed rows of every source's held-out documents."""
    rows = {}
    for source, stream in shards.heldout.items():
        packed = PackedRows({source: stream}, {source: 1.0}, context_length=context_length, seed=0)
        rows[source] = packed.rows(range(min(_HELD_OUT_ROWS, packed.rows_per_epoch)))
    return rows


def _prepare(settings: PretrainSettings, report: Report) -> None:
    """Read the corpus into a tokenizer and shards, unless this run has done so before it was interrupted."""
    shards, tokenizer_dir = settings.output_dir / "shards", settings.output_dir / "tokenizer"
    made_from = fingerprint(settings.model_dump(include=_CORPUS_SETTINGS))
    kept = open_shards(shards)
    if kept is not None and kept.made_from != made_from:
        raise CheckpointMismatchError(
            f"The texts in {shards} were prepared for a run with other settings. "
            "Use the settings it was started with, or another output folder."
        )
    if kept is not None and tokenizer_dir.exists():
        return
    corpus = corpus_of(settings)
    report_corpus(corpus, report)
    tokenizer = _tokenizer(settings, corpus, report)
    with whole(tokenizer_dir, "The tokenizer") as fresh:
        tokenizer.save_pretrained(fresh)
    write_shards(shards, corpus, ChatFormat(tokenizer), seed=settings.seed, made_from=made_from)


def _tokenizer(settings: PretrainSettings, corpus: Corpus, report: Report) -> Any:
    """The tokenizer of the model to go on from, or a new one trained on the corpus."""
    if settings.start:
        return ChatFormat.from_folder(settings.start).tokenizer
    tokenizer = train_tokenizer(
        _tokenizer_texts(corpus), vocab_size=settings.vocab_size, context_length=settings.context_length
    )
    report(f"tokenizer with {len(tokenizer):,} tokens trained")
    return tokenizer


def _tokenizer_texts(corpus: Corpus) -> Iterator[str]:
    """The corpus as the model will meet it: a source of weight 0.2 shows every fifth document."""
    weights = {source.file: source.pretrain for source in corpus.recipe.sources}
    for index, document in enumerate(corpus.training):
        weight = weights[document.source]
        if weight >= 1 or (weight > 0 and index % round(1 / weight) == 0):
            yield document.words


def _model(settings: PretrainSettings, chat_format: ChatFormat) -> Any:
    """The model to go on from, or a new one."""
    if settings.start:
        loaded = load_language_model(settings.start)
        if settings.context_length > loaded.context_length:
            raise ModelFolderError(
                f"{settings.start} attends to {loaded.context_length} tokens, and the rows are to have "
                f"{settings.context_length} (context_length). Use {loaded.context_length} or fewer."
            )
        return loaded.model.train()
    return new_model(
        settings.architecture,
        chat_format,
        context_length=settings.context_length,
        n_layer=settings.n_layer,
        n_head=settings.n_head,
        n_embd=settings.n_embd,
    )


def _write_record(settings: PretrainSettings, shards: Shards, result: PretrainResult) -> None:
    record = {
        "settings": settings.model_dump(mode="json"),
        "counts": shards.counts,
        "tokens": {source: len(stream) for source, stream in shards.training.items()},
        "result": asdict(result),
    }
    with whole(settings.output_dir / "pretraining.json", "The record of the run") as fresh:
        fresh.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
