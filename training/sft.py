"""Fine-tunes a base model on conversations: cross-entropy on the answers, each end of turn included.

The loop is our own rather than TRL's SFTTrainer: it keeps to a time budget, resumes from the same crash-safe
checkpoints as pretraining and adds GPT-1's auxiliary loss in one line; each would mean overriding the
trainer's inner step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.corpus import Corpus, corpus_of, report_corpus
from training.demonstrations import Batch, Example, ExampleBatches, collate, cut_conversation, make_example
from training.export import export_model
from training.language_modelling import loss_line
from training.learning_run import Report, learn, silent
from training.learning_settings import SftSettings
from training.loading import LoadedModel, load_language_model
from training.numerics import Numerics, kept_precision, probe_numerics
from training.ranks import Ranks, joined_ranks
from training.recipe import CorpusError, SourceRecipe
from training.records import Document
from training.tidy import untidy_chat
from training.whole_files import whole

_HELD_OUT_EXAMPLES = 64


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
    with joined_ranks() as ranks:
        report = report if ranks.is_first else silent

        # 1. Model and numerics
        torch.manual_seed(settings.seed)
        numerics = kept_precision(
            settings.output_dir,
            probe_numerics(
                device=ranks.device, precision=settings.precision, compile_model=settings.compile_model
            ),
            ranks,
        )
        loaded = load_language_model(settings.base, device=numerics.device)
        report(f"fine-tuning {settings.base}; {numerics.reason}")
        if not _set_dropout(loaded.model, settings.dropout) and settings.dropout:
            report(
                f"{type(loaded.model).__name__} has no dropout layers: dropout {settings.dropout} does nothing"
            )

        # 2. Examples
        corpus = corpus_of(settings)
        report_corpus(corpus, report)
        material = _Conversations(settings, corpus, loaded, numerics, ranks)
        report(", ".join(f"{count:,} examples of {source}" for source, count in material.counts.items()))

        # 3. Steps
        loaded.model.train()
        outcome = learn(settings, loaded.model, material, ranks, report)

        # 4. The fine-tuned model
        heldout_loss = outcome.heldout_loss
        if settings.base_share:
            average_with_base(loaded.model, settings.base, settings.base_share)
            heldout_loss = material.heldout_losses()
            report(f"averaged with {settings.base_share:.0%} of the base; {loss_line(heldout_loss)}")
        result = SftResult(
            settings.model_dir,
            outcome.progress.step,
            outcome.progress.tokens,
            material.counts,
            heldout_loss,
        )
        if ranks.is_first:
            _set_dropout(loaded.model, 0.0)
            export_model(loaded.model, loaded.chat_format, settings.model_dir)
            record = {"settings": settings.model_dump(mode="json"), "counts": corpus.counts, **asdict(result)}
            with whole(settings.output_dir / "sft.json", "The record of the run") as fresh:
                fresh.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")
        report(
            f"The model is in {result.model_dir}. Serve it: RAPPORT_MODEL={result.model_dir} rapport serve"
        )
        ranks.wait()
        return result


class _Conversations:
    """Batches of conversations as the material of a run, and some of every source's held-out ones."""

    def __init__(
        self, settings: SftSettings, corpus: Corpus, loaded: LoadedModel, numerics: Numerics, ranks: Ranks
    ) -> None:
        self._settings, self._model = settings, loaded.model
        self._numerics, self._ranks = numerics, ranks
        self._pad_id = loaded.chat_format.pad_token_id
        self._loss = torch.compile(sft_loss) if numerics.is_compiled else sft_loss
        sources = {source.file: source for source in corpus.recipe.sources if source.sft}
        examples = _encode(corpus.training, sources, loaded)
        if not examples:
            raise CorpusError(
                "No conversation with an assistant's answer was found. Fine-tuning needs records with "
                '"messages" that hold a user and an assistant turn.'
            )
        self.counts = {source: len(members) for source, members in examples.items()}
        shares = [(examples, 1 - settings.casual_share)]
        if settings.casual_share:
            casual = _encode(map(_typed_casually, corpus.training), sources, loaded)
            shares.append((casual, settings.casual_share))
        weighted = [
            (example, share * sources[source].sft)
            for by_source, share in shares
            for source, members in by_source.items()
            for example in members
        ]
        self._batches = ExampleBatches(
            [example for example, _ in weighted],
            [weight for _, weight in weighted],
            tokens_per_batch=settings.tokens_per_batch,
            seed=settings.seed,
        )
        heldout = _encode(corpus.heldout, sources, loaded)
        self._heldout = {
            source: collate(members[:_HELD_OUT_EXAMPLES], pad_id=self._pad_id)
            for source, members in heldout.items()
        }

    def backward(self, step: int, part: int) -> tuple[float, int]:
        """Each rank takes some examples of the batch; their losses are divided by the whole batch's tokens."""
        settings = self._settings
        examples = self._batches.examples(step * settings.accumulation + part)
        mine = self._ranks.share(examples)
        answers = sum(example.answer_tokens for example in examples)
        prompts = sum(example.prompt_tokens for example in examples)
        tokens = sum(len(example.token_ids) for example in examples)
        if not mine:  # the batch has fewer examples than there are ranks
            return 0.0, tokens
        batch = collate(mine, pad_id=self._pad_id).to(self._numerics.device)
        with self._numerics.autocast():
            loss = self._loss(self._model, batch, settings.auxiliary_weight, answers, prompts)
        torch.autograd.backward(loss / settings.accumulation)
        return loss.item() * self._ranks.count, tokens

    @torch.no_grad()
    def heldout_losses(self) -> Mapping[str, float]:
        """Loss per assistant's token of each source's held-out conversations."""
        self._model.eval()
        losses = {}
        for source, batch in self._heldout.items():
            with self._numerics.autocast():
                losses[source] = float(sft_loss(self._model, batch.to(self._numerics.device), 0.0))
        self._model.train()
        return losses


@torch.no_grad()
def average_with_base(model: nn.Module, base: str, share: float) -> None:
    """Replace every weight by `share` of the base's and the rest of its own (WiSE-FT, Wortsman et al. 2022)."""
    before = dict(load_language_model(base).model.named_parameters())
    for name, weight in model.named_parameters():
        weight.lerp_(before[name].to(weight.device), share)


def sft_loss(
    model: nn.Module,
    batch: Batch,
    auxiliary_weight: float,
    answer_tokens: int | None = None,
    prompt_tokens: int | None = None,
) -> Tensor:
    """L2 + λ·L1: mean over the assistant's tokens, plus λ times the mean over all others (GPT, 2018).

    The counts to divide by are the batch's own, or those of a larger batch of which this is a share.
    """
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    loss = _mean_loss(logits, batch.answer_targets, answer_tokens)
    if auxiliary_weight:
        loss = loss + auxiliary_weight * _mean_loss(logits, batch.prompt_targets, prompt_tokens)
    return loss


def _mean_loss(logits: Tensor, targets: Tensor, count: int | None) -> Tensor:
    """Mean cross-entropy of `targets` (batch, time), each predicted one place before it; −100 is left out."""
    logits, targets = logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten()
    if count is None:
        return functional.cross_entropy(logits, targets)
    return functional.cross_entropy(logits, targets, reduction="sum") / count


def _encode(
    documents: Iterable[Document], sources: Mapping[str, SourceRecipe], loaded: LoadedModel
) -> dict[str, list[Example]]:
    examples: dict[str, list[Example]] = {}
    for document in documents:
        if document.source in sources and document.messages:
            for messages in cut_conversation(document, sources[document.source]):
                example = make_example(messages, loaded.chat_format, context_length=loaded.context_length)
                if example:
                    examples.setdefault(document.source, []).append(example)
    return examples


def _typed_casually(document: Document) -> Document:
    messages = tuple(
        {**message, "content": untidy_chat(message["content"])} if message["role"] == "user" else message
        for message in document.messages
    )
    return replace(document, messages=messages)


def _set_dropout(model: nn.Module, probability: float) -> bool:
    """Set dropout on embeddings and residuals, and say whether the model has any (Llama's block has none).

    Attention keeps none, for its fast kernels have none.
    """
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and "attn_dropout" not in name
    ]
    for layer in layers:
        layer.p = probability
    return bool(layers)
