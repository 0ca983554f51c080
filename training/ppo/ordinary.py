"""Ordinary text for PPO's pretraining term: random windows of documents, the same for the same seed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.chat_format import ChatFormat
from training.seeds import generator_for


def read_ordinary_text(path: Path, part: str) -> list[str]:
    """The texts of a part ("training" or "heldout") of a gzipped file of `{"text", "part"}` lines."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [record["text"] for record in records if record["part"] == part]


class OrdinaryText:
    """Documents as one stream of tokens, a start token before each, from which windows are drawn."""

    def __init__(self, texts: Sequence[str], chat_format: ChatFormat, window: int, seed: int) -> None:
        """Encode the texts; `window` is in tokens."""
        ids = [token for text in texts for token in (chat_format.start_token_id, *chat_format.text_ids(text))]
        self.stream, self.window, self.seed = torch.tensor(ids, dtype=torch.long), window, seed

    def rows(self, count: int, *key: int) -> Tensor:
        """Windows (count, window + 1) drawn for the purpose that `key` names; raises ValueError for too little text."""
        room = len(self.stream) - self.window
        if room < 1:
            raise ValueError(
                f"There are {len(self.stream)} tokens of ordinary text, fewer than ppo.gamma_tokens + 1 "
                f"({self.window + 1}). Give more text, or set ppo.gamma to 0."
            )
        starts = torch.randint(room, (count,), generator=generator_for(self.seed, "ordinary", *key))
        return self.stream[starts[:, None] + torch.arange(self.window + 1)]
