"""What the decoder needs of a model: prompts are read a chunk at a time, then every row grows by a token per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from training.generation.block_forward import BlockForward
from training.generation.blocks import blocks_of
from training.generation.transformers_forward import TransformersForward


class Reading(Protocol):
    """Prompts of rows that are about to join, in the course of being read."""

    def advance(self, tokens: int) -> Tensor | None:
        """Read about `tokens` more; at the end of all prompts, the next logits of each: (prompts, vocabulary)."""
        ...


class Forward(Protocol):
    """A model with the memory of the rows that decode; rows are numbered from 0 without gaps."""

    device: torch.device
    vocab_size: int
    context_length: int | None

    def bytes_for(self, rows: int, columns: int) -> int:
        """Bytes of keys and values that this many rows of this many tokens take."""
        ...

    def read(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Begin to read prompts, beside the rows that decode."""
        ...

    def admit(self, reading: Any) -> None:
        """Take the rows of a finished reading behind the present ones."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read one token per row; returns the next logits (rows, vocabulary), float32."""
        ...

    def rearrange(self, rows: Sequence[int], sources: Sequence[int]) -> None:
        """Let each of `rows` go on from what the row in `sources` has read; all of them have the same length."""
        ...

    def drop(self, row: int, tokens: Sequence[int]) -> None:
        """Free a row that has read `tokens` (none to forget them); the last row takes its place."""
        ...


def forward_of(model: Any, *, pad_token_id: int, prefix_bytes: int = 0) -> Forward:
    """The fast path where the model's blocks are ones we know, the library's own forward everywhere else.

    `prefix_bytes` is how much of finished rows the fast path keeps, for prompts that begin as they did.
    Raises InvalidDecoding for a model without keys and values.
    """
    blocks = blocks_of(model)
    if blocks is None:
        return TransformersForward(model, pad_token_id)
    return BlockForward(blocks, prefix_bytes=prefix_bytes)
