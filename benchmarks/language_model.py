"""Measures language models on a pretraining run's held-out text, beside a 5-gram model and the first bundled model.

    python -m benchmarks.language_model --run RUN_DIR --model base=DIR --model fine-tuned=DIR --first DIR

RUN_DIR is what `rapport pretrain` wrote. A model with another tokenizer reads the same documents in its own tokens;
bits per UTF-8 byte compare all. The 5-gram Kneser-Ney model counts every source of the run's training tokens once,
whatever the source's weight, and sees the tokens before the start of a row, which the models do not.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heldout import Loss, documents_of, encode_stream, model_nats, text_bytes
from benchmarks.named import named_path
from benchmarks.ngram import KneserNey
from benchmarks.results import Measurement, print_table
from training.chat_format import ChatFormat
from training.loading import LoadedModel, load_language_model
from training.shards import Shards, open_shards

FIRST = "first"
ALL = "all"
UNITS: Mapping[str, Callable[[Loss], str]] = {
    "nats per token (own tokens)": lambda loss: f"{loss.per_token:.3f}",
    "perplexity per token (own tokens)": lambda loss: f"{loss.perplexity:.1f}",
    "bits per UTF-8 byte": lambda loss: f"{loss.bits_per_byte:.3f}",
}

Losses = dict[str, Loss]  # by source, and of all together


def main() -> None:
    options = parse_arguments()
    shards, chat_format = open_run(options.run)
    folders = dict(options.model)
    subject = next(iter(folders))
    if options.first:
        folders[FIRST] = options.first
    losses = {
        name: model_losses(load_language_model(folder), shards, chat_format)
        for name, folder in folders.items()
    }
    losses[f"{options.order}-gram"] = ngram_losses(shards, chat_format, options.order)
    for unit, show in UNITS.items():
        print(f"\nHeld-out loss, {unit}")
        print_table(table(losses, show))
    write_row(losses, subject, options)


def open_run(folder: Path) -> tuple[Shards, ChatFormat]:
    """The token ids of a pretraining run, and the tokenizer they were made with."""
    shards = open_shards(folder / "shards")
    if shards is None or not (folder / "tokenizer").is_dir():
        raise SystemExit(
            f"{folder} holds no shards and tokenizer; give the output folder of `rapport pretrain`."
        )
    return shards, ChatFormat.from_folder(folder / "tokenizer")


def model_losses(loaded: LoadedModel, shards: Shards, chat_format: ChatFormat) -> Losses:
    """A model's loss on each source, in the run's tokens where they are its own too."""
    is_own = loaded.chat_format.tokenizer.get_vocab() == chat_format.tokenizer.get_vocab()
    found = {}
    for source, stream in shards.heldout.items():
        documents = list(documents_of(stream, chat_format))
        own = stream if is_own else encode_stream(documents, loaded.chat_format)
        found[source] = Loss(model_nats(loaded, own), len(own) - 1, text_bytes(documents))
    return with_total(found)


def ngram_losses(shards: Shards, chat_format: ChatFormat, order: int) -> Losses:
    """The n-gram model's loss on each source, trained on all training tokens."""
    training = np.concatenate(list(shards.training.values()))
    model = KneserNey.fit(training, vocab_size=chat_format.vocab_size, order=order)
    found = {}
    for source, stream in shards.heldout.items():
        nats = -float(np.log(model.probabilities(stream)[1:]).sum())
        found[source] = Loss(nats, len(stream) - 1, text_bytes(list(documents_of(stream, chat_format))))
    return with_total(found)


def with_total(found: Mapping[str, Loss]) -> Losses:
    """Add the loss on all sources' tokens together."""
    return {**found, ALL: reduce(add, found.values())}


def table(losses: Mapping[str, Losses], show: Callable[[Loss], str]) -> list[tuple[str, ...]]:
    """One row per source, one column per model."""
    sources = next(iter(losses.values()))
    rows = [
        (source, f"{loss.text_bytes:,}", *(show(of_model[source]) for of_model in losses.values()))
        for source, loss in sources.items()
    ]
    return [("source", "bytes", *losses), *rows]


def write_row(losses: Mapping[str, Losses], subject: str, options: argparse.Namespace) -> None:
    """Store the first model's bits per byte on all held-out text, with its best and worst source."""
    by_source = [loss.bits_per_byte for source, loss in losses[subject].items() if source != ALL]
    others = [f"{name}: {found[ALL].bits_per_byte:.3f}" for name, found in losses.items() if name != subject]
    detail: dict[str, Any] = {
        name: {source: {**asdict(loss), **_derived(loss)} for source, loss in found.items()}
        for name, found in losses.items()
    }
    Measurement(
        row="language-model",
        measure=f"held-out loss of model {subject}, all sources together",
        value=round(losses[subject][ALL].bits_per_byte, 4),
        unit="bits per UTF-8 byte",
        baseline=", ".join(others),
        spread=[round(min(by_source), 4), round(max(by_source), 4)],
        command=f"python -m benchmarks.language_model --order {options.order}",
        detail=detail,
    ).write()


def _derived(loss: Loss) -> dict[str, float]:
    return {
        "nats_per_token": loss.per_token,
        "perplexity": loss.perplexity,
        "bits_per_byte": loss.bits_per_byte,
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", type=Path, required=True, help="output folder of `rapport pretrain`")
    parser.add_argument(
        "--model", type=named_path, action="append", required=True, help="NAME=DIR, repeatable"
    )
    parser.add_argument("--first", type=Path, help="the first bundled model's folder")
    parser.add_argument("--order", type=int, default=5, help="longest n-gram of the Kneser-Ney model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
