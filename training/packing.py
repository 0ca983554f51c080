"""Packs documents into rows of equal length for next-token training, each source as often as its weight says.

Which rows make up step n follows from the seed and n alone, so a resumed run sees the rows that were due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.chat_format import ChatFormat
from training.recipe import CorpusError
from training.records import Document

Tokens = NDArray[np.uint32]


def encode_document(document: Document, chat_format: ChatFormat) -> list[int]:
    """Token ids of a text or a rendered conversation, starting with the document separator."""
    if document.messages:
        return chat_format.conversation_ids(document.messages)[0]
    return [chat_format.start_token_id, *chat_format.text_ids(document.text)]


def pack(documents: Sequence[Document], chat_format: ChatFormat, *, seed: int) -> dict[str, Tokens]:
    """Join each source's documents, in shuffled order, into one array of token ids."""
    by_source: dict[str, list[Document]] = {}
    for document in documents:
        by_source.setdefault(document.source, []).append(document)
    streams = {}
    for source, members in by_source.items():
        order = np.random.default_rng(seed).permutation(len(members))
        encoded = [np.asarray(encode_document(members[i], chat_format), dtype=np.uint32) for i in order]
        streams[source] = np.concatenate(encoded)
    return streams


class PackedRows:
    """Rows of `context_length` + 1 tokens (inputs and, one further, their targets), drawn by weight."""

    def __init__(
        self, streams: Mapping[str, Tokens], weights: Mapping[str, float], *, context_length: int, seed: int
    ) -> None:
        width = context_length + 1
        self._streams = [
            stream if len(stream) > width else np.resize(stream, width + 1) for stream in streams.values()
        ]
        self._weights = [weights[source] for source in streams]
        self._width = width
        self._seed = seed
        self._plan = lru_cache(maxsize=2)(self._plan_epoch)
        self.rows_per_epoch = sum(
            round(weight * self._row_count(stream))
            for stream, weight in zip(self._streams, self._weights, strict=True)
        )
        if not self.rows_per_epoch:
            raise CorpusError(
                f"By their weights ({weights}) no source gives a single row of {width} tokens. Raise the weights."
            )

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """These rows of the endless sequence of epochs, as int64 (rows, context_length + 1)."""
        return torch.from_numpy(np.stack([self._row(number) for number in numbers]).astype(np.int64))

    def _row(self, number: int) -> Tokens:
        epoch, place = divmod(number, self.rows_per_epoch)
        source, start = self._plan(epoch)[place]
        row: Tokens = self._streams[source][start : start + self._width]
        return row

    def _row_count(self, stream: Tokens) -> int:
        return max(1, (len(stream) - 1) // (self._width - 1) - 1)

    def _plan_epoch(self, epoch: int) -> NDArray[np.int64]:
        """(source, start) of every row of an epoch; rows begin elsewhere in each epoch."""
        random = np.random.default_rng([self._seed, epoch])
        rows = []
        for source, (stream, weight) in enumerate(zip(self._streams, self._weights, strict=True)):
            count = self._row_count(stream)
            wanted = round(weight * count)
            passes = [random.permutation(count) for _ in range(1 + wanted // count)]
            drawn = np.concatenate(passes)[:wanted]
            slack = len(stream) - self._width - (count - 1) * (self._width - 1)
            offset = int(random.integers(0, slack + 1)) if slack > 0 else 0
            rows.append(np.stack([np.full(wanted, source), drawn * (self._width - 1) + offset], axis=1))
        plan: NDArray[np.int64] = np.concatenate(rows).astype(np.int64)
        return plan[random.permutation(len(plan))]
