"""Keeps a corpus as token ids in files that are mapped into memory: read once, however often a run is resumed.

`shards/` holds one array of ids per source for training and one for validation, and `shards.json` the counts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.chat_format import ChatFormat
from training.corpus import Corpus
from training.packing import Tokens, pack

_INDEX = "shards.json"


@dataclass(frozen=True, slots=True)
class Shards:
    """Token ids by source, for training and held out, and how many documents each step of cleaning left."""

    training: Mapping[str, Tokens]
    heldout: Mapping[str, Tokens]
    weights: Mapping[str, float]
    counts: Mapping[str, Mapping[str, int]]


def write_shards(folder: Path, corpus: Corpus, chat_format: ChatFormat, *, seed: int) -> None:
    """Encode a corpus; the folder appears whole or not at all. Sources of weight 0 are only validated on."""
    fresh = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {source.file: source.pretrain for source in corpus.recipe.sources}
    used = [document for document in corpus.training if weights[document.source]]
    files: dict[str, dict[str, str]] = {"training": {}, "heldout": {}}
    for part, documents in (("training", used), ("heldout", corpus.heldout)):
        for place, (source, tokens) in enumerate(pack(documents, chat_format, seed=seed).items()):
            files[part][source] = f"{part}-{place}.npy"
            np.save(fresh / files[part][source], tokens)
    index = {"files": files, "weights": weights, "counts": corpus.counts}
    (fresh / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


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
    return Shards(parts["training"], parts["heldout"], weights, index["counts"])
