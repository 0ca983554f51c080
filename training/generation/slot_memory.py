"""Key/value memory of the fast path: a slot per row, every row's tokens from column 0 on.

A row's tokens stay where they are while others come and go, so a finished row can be kept for a later prompt that
begins as it did, and a row that joins is copied in without moving anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

COLUMN_CHUNK = 64
ROW_CHUNK = 4

Attend = Callable[
    [int, Tensor, Tensor, Tensor], Tensor
]  # layer, queries, keys, values → what was attended to


@dataclass(frozen=True, slots=True)
class MemoryShape:
    """What one token takes: keys and values of every layer."""

    layers: int
    heads: int
    head_size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Bytes of one token's keys and values."""
        return 2 * self.layers * self.heads * self.head_size * self.dtype.itemsize

    def zeros(self, rows: int, columns: int) -> Tensor:
        """One layer's keys or values. Zeros: an empty column has weight 0 in attention, and 0 · NaN is NaN."""
        return torch.zeros(rows, self.heads, columns, self.head_size, dtype=self.dtype, device=self.device)


def memory_dtype(weights: Tensor) -> torch.dtype:
    """The type to keep keys and values in, for a model with these weights.

    On a CPU always float32: attention over bfloat16 takes five times as long there, whatever the weights gain by it.
    """
    return torch.float32 if weights.device.type == "cpu" else weights.dtype


class SlotMemory:
    """Keys and values of the rows of a batch: per layer a buffer (rows, heads, columns, head size)."""

    def __init__(self, shape: MemoryShape) -> None:
        """Begin without rows; `reserve` makes the buffers."""
        self.shape = shape
        self.lengths: list[int] = []
        self.keys = [shape.zeros(0, 0) for _ in range(shape.layers)]
        self.values = [shape.zeros(0, 0) for _ in range(shape.layers)]

    @property
    def rows(self) -> int:
        """How many rows are in use."""
        return len(self.lengths)

    def reserve(self, rows: int, columns: int) -> None:
        """Make room for this many rows and columns; what is there stays.

        New buffers are as large as is needed now: many short rows once and a long one later must not multiply.
        """
        row_capacity, _, column_capacity, _ = self.keys[0].shape
        if rows <= row_capacity and columns <= column_capacity:
            return
        used, width = self.rows, max(self.lengths, default=0)
        for buffers in (self.keys, self.values):
            for layer, old in enumerate(buffers):
                new = self.shape.zeros(
                    _round_up(max(rows, used), ROW_CHUNK), _round_up(max(columns, width), COLUMN_CHUNK)
                )
                new[:used, :, :width] = old[:used, :, :width]
                buffers[layer] = new

    def add_empty(self, count: int) -> None:
        """Let `count` rows without tokens join."""
        self.reserve(self.rows + count, 0)
        self.lengths += [0] * count

    def add_copies(self, other: SlotMemory, rows: Sequence[int]) -> None:
        """Let copies of some of another memory's rows join."""
        width = max(other.lengths[row] for row in rows)
        self.reserve(self.rows + len(rows), width)
        ours = slice(self.rows, self.rows + len(rows))
        theirs = torch.tensor(rows, device=self.shape.device)
        for mine, source in ((self.keys, other.keys), (self.values, other.values)):
            for layer in range(self.shape.layers):
                mine[layer][ours, :, :width] = source[layer][theirs, :, :width]
        self.lengths += [other.lengths[row] for row in rows]

    def copy_out(self, row: int) -> Tensor:
        """One row's keys and values, (2, layers, heads, tokens, head size)."""
        length = self.lengths[row]
        sides = [torch.stack([layer[row, :, :length] for layer in side]) for side in (self.keys, self.values)]
        return torch.stack(sides)

    def copy_in(self, row: int, tokens: Tensor) -> None:
        """Begin an empty row with what `copy_out` gave, or with its first tokens."""
        length = tokens.shape[3]
        self.reserve(self.rows, length)
        for side, buffers in zip(tokens, (self.keys, self.values), strict=True):
            for layer, buffer in enumerate(buffers):
                buffer[row, :, :length] = side[layer]
        self.lengths[row] = length

    def rearrange(self, rows: Sequence[int], sources: Sequence[int]) -> None:
        """Let each of `rows` hold what the row in `sources` holds; all of them have the same length."""
        length = self.lengths[rows[0]]
        for buffer in (*self.keys, *self.values):
            buffer[list(rows), :, :length] = buffer[list(sources), :, :length]

    def drop(self, row: int) -> None:
        """Free a row; the last row takes its place. Nothing of a row stays: its numbers may be broken ones."""
        last, freed = self.rows - 1, self.lengths[row]
        length = self.lengths.pop()
        for buffer in (*self.keys, *self.values):
            buffer[row, :, :freed] = 0
            if row != last:
                buffer[row, :, :length] = buffer[last, :, :length]
                buffer[last, :, :length] = 0
        if row != last:
            self.lengths[row] = length


class SlotPass:
    """One forward pass over the first rows of a memory: where its new tokens stand and what they may see.

    Each row brings `counts[row]` new tokens, padded on the right to the largest count; padding is not written.
    """

    def __init__(self, memory: SlotMemory, counts: Sequence[int]) -> None:
        """Make room for the new tokens."""
        self._memory, self._counts = memory, counts
        self._rows, self._new = len(counts), max(counts)
        starts, device = memory.lengths[: self._rows], memory.shape.device
        self._columns = max(starts) + self._new
        memory.reserve(memory.rows, self._columns)
        self._start = starts[0] if min(starts) == max(starts) else None  # where all rows stand, if they agree
        offsets = torch.arange(self._new, device=device)
        self.positions = torch.tensor(starts, device=device)[:, None] + offsets  # (rows, new)
        self._tokens = None if min(counts) == self._new else self._real_tokens()
        self._is_causal = self._start == 0 and self._new > 1
        self._mask = None if self._is_causal or self._sees_everything else self._visible()

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Write the new keys and values, each (rows · new, heads, head size), and attend to all of the row's.

        Returns (rows · new, heads · head size).
        """
        memory, rows, columns = self._memory, self._rows, self._columns
        all_keys, all_values = memory.keys[layer], memory.values[layer]
        self._write(all_keys, keys)
        self._write(all_values, values)
        attended = functional.scaled_dot_product_attention(
            self._by_row(queries.to(all_keys.dtype)).transpose(1, 2),
            all_keys[:rows, :, :columns],
            all_values[:rows, :, :columns],
            attn_mask=self._mask,
            is_causal=self._is_causal,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        return attended.transpose(1, 2).reshape(queries.shape[0], -1).to(queries.dtype)

    def close(self) -> None:
        """Count the new tokens, once every layer has attended."""
        for row, count in enumerate(self._counts):
            self._memory.lengths[row] += count

    @property
    def _sees_everything(self) -> bool:
        return self._start is not None and self._new == 1

    def _visible(self) -> Tensor:
        """Mask (rows, 1, new, columns), True up to each new token's own position."""
        columns = torch.arange(self._columns, device=self.positions.device)
        return (columns <= self.positions[:, :, None])[:, None]

    def _real_tokens(self) -> Tensor:
        """Which of the tokens, laid end to end, are no padding."""
        counts = torch.tensor(self._counts, device=self.positions.device)
        offsets = torch.arange(self._new, device=self.positions.device)
        return (offsets < counts[:, None]).flatten().nonzero().squeeze(-1)

    def _write(self, buffer: Tensor, new: Tensor) -> None:
        new = new.to(buffer.dtype)
        if self._tokens is not None:
            buffer[self._tokens // self._new, :, self.positions.flatten()[self._tokens]] = new[self._tokens]
        elif self._start is None:
            rows = torch.arange(self._rows, device=new.device)[:, None]
            buffer[rows, :, self.positions] = self._by_row(new)
        else:
            buffer[: self._rows, :, self._start : self._columns] = self._by_row(new).transpose(1, 2)

    def _by_row(self, tokens: Tensor) -> Tensor:
        return tokens.view(self._rows, self._new, *tokens.shape[1:])


def _round_up(size: int, chunk: int) -> int:
    return -(-size // chunk) * chunk
