"""Keeps a corpus as token ids in files that are mapped into memory: read once, however often a run is resumed.

`shards/` holds one array of ids per source for training and one for validation, and `shards.json` the counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.chat_format import ChatFormat
from training.corpus import Corpus
from training.packing import Tokens, pack
from training.recipe import CorpusError
from training.whole_files import whole

_INDEX = "shards.json"


@dataclass(frozen=True, slots=True)
class Shards:
    """Token ids by source, for training and held out, and how many documents each step of cleaning left.

    `made_from` is the fingerprint of the settings by which they were made.
    """

    training: Mapping[str, Tokens]
    heldout: Mapping[str, Tokens]
    weights: Mapping[str, float]
    counts: Mapping[str, Mapping[str, int]]
    made_from: str = ""


def write_shards(
    folder: Path, corpus: Corpus, chat_format: ChatFormat, *, seed: int, made_from: str = ""
) -> None:
    """Encode a corpus; the folder appears whole or not at all. Sources of weight 0 are only validated on.

    Raises CorpusError if every source has weight 0, UnwrittenError when the disk is full or read-only.
    """
    weights = {source.file: source.pretrain for source in corpus.recipe.sources}
    used = [document for document in corpus.training if weights[document.source]]
    if not used:
        raise CorpusError(
            'Every source with text has the weight "pretrain": 0. Give at least one a weight above 0.'
        )
    parts = {
        "training": pack(used, chat_format, seed=seed),
        "heldout": pack(corpus.heldout, chat_format, seed=seed),
    }
    files = {
        part: {source: f"{part}-{place}.npy" for place, source in enumerate(streams)}
        for part, streams in parts.items()
    }
    index = {"made_from": made_from, "files": files, "weights": weights, "counts": corpus.counts}
    with whole(folder, "The token shards") as fresh:
        fresh.mkdir()
        for part, streams in parts.items():
            for source, tokens in streams.items():
                np.save(fresh / files[part][source], tokens)
        (fresh / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def open_shards(folder: Path) -> Shards | None:
    """Map the arrays that `write_shards` wrote; None where there are none."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    parts = {
        part: {source: np.load(folder / name, mmap_mode="r") for source, name in names.items()}
        for part, names in index["files"].items()
    }
    weights = {source: index["weights"][source] for source in parts["training"]}
    return Shards(parts["training"], parts["heldout"], weights, index["counts"], index.get("made_from", ""))
