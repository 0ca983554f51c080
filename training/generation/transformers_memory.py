"""Key/value memory of a batch whose rows come and go, in buffers that are allocated ahead of need.

All rows end in the same column, so a new token of every row is one slice write, and a shorter row has empty
columns on its left (left padding). `transformers` sees an ordinary cache; its own grows by copying.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

COLUMN_CHUNK = 64
ROW_CHUNK = 4


class Window:
    """Which part of the buffers is in use: the first `rows` rows, the columns from `start` up to `stop`."""

    __slots__ = ("column_capacity", "row_capacity", "rows", "start", "stop")

    def __init__(self, rows: int, columns: int) -> None:
        """Begin with no column in use, and capacity for at least `rows` and `columns`."""
        self.rows, self.start, self.stop = rows, 0, 0
        self.row_capacity, self.column_capacity = _round_up(rows, ROW_CHUNK), _round_up(columns, COLUMN_CHUNK)

    @property
    def width(self) -> int:
        """How many columns are in use."""
        return self.stop - self.start


class LayerMemory(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, each a buffer (rows, heads, columns, head size); the window is shared."""

    is_sliding = False
    is_compileable = False

    def __init__(self, window: Window) -> None:
        """Share the memory's window; the buffers are made when the first tokens arrive."""
        super().__init__()
        self.window = window

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate zeros: an empty column takes part in attention with weight 0, and 0 · NaN would be NaN."""
        rows, columns = self.window.row_capacity, self.window.column_capacity
        self.keys = key_states.new_zeros(rows, key_states.shape[1], columns, key_states.shape[3])
        self.values = value_states.new_zeros(rows, value_states.shape[1], columns, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new columns, and return every column in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, start, stop = self.window.rows, self.window.start, self.window.stop
        end = stop + key_states.shape[2]
        self.keys[:rows, :, stop:end] = key_states
        self.values[:rows, :, stop:end] = value_states
        return self.keys[:rows, :, start:end], self.values[:rows, :, start:end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tell `transformers` how many columns attention will see, and that they start at 0."""
        return self.window.width + query_length, 0

    def get_seq_length(self) -> int:
        """Tell `transformers` how many columns are filled."""
        return self.window.width

    def get_max_length(self) -> int:
        """Tell `transformers` that there is no limit: the buffers grow."""
        return -1


class KeyValueMemory(Cache):  # type: ignore[misc]
    """The memory of one batch: buffers per model layer, and which columns of each row hold tokens."""

    def __init__(self, rows: int, columns: int, device: torch.device) -> None:
        """Make an empty memory for `rows` rows with capacity for `columns` columns."""
        self.window = Window(rows, columns)
        super().__init__(layer_class_to_replicate=lambda: LayerMemory(self.window))
        capacity = (self.window.row_capacity, self.window.column_capacity)
        self._is_token = torch.zeros(capacity, dtype=torch.bool, device=device)
        self.lengths = [0] * rows

    @property
    def rows(self) -> int:
        """How many rows are in use."""
        return self.window.rows

    def open(self, counts: Sequence[int]) -> Tensor:
        """Make room for `counts[row]` new tokens per row, right-aligned; returns the mask (rows, columns).

        The forward pass that follows fills the columns and `close` counts them; a failed one leaves no trace.
        """
        window, new = self.window, max(counts)
        if window.stop + new > window.column_capacity:
            self._reallocate(window.row_capacity, window.width + new + COLUMN_CHUNK, offset=0)
            window = self.window
        end = window.stop + new
        if min(counts) == new:
            self._is_token[: window.rows, window.stop : end] = True
        else:
            self._is_token[: window.rows, window.stop : end] = _right_aligned(counts, self._is_token.device)
        return self._is_token[: window.rows, window.start : end]

    def close(self, counts: Sequence[int]) -> None:
        """Count the tokens that the forward pass after `open(counts)` has written."""
        self.window.stop += max(counts)
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]

    def append(self, joining: KeyValueMemory) -> None:
        """Take over the rows of another memory of the same model, after the present ones."""
        self._make_room(joining.rows, joining.window.width)
        window, width = self.window, joining.window.width
        rows = slice(window.rows, window.rows + joining.rows)
        empty, filled = slice(window.start, window.stop - width), slice(window.stop - width, window.stop)
        theirs = slice(joining.window.start, joining.window.stop)
        for ours, other in zip(self._buffers(), joining._buffers(), strict=True):
            ours[rows, :, empty] = 0
            ours[rows, :, filled] = other[: joining.rows, :, theirs]
        self._is_token[rows, empty] = False
        self._is_token[rows, filled] = joining._is_token[: joining.rows, theirs]
        self.lengths += joining.lengths
        window.rows += joining.rows

    def rearrange(self, rows: Sequence[int], sources: Sequence[int]) -> None:
        """Let each of `rows` hold what the row in `sources` holds; all of them have the same length."""
        columns = slice(self.window.start, self.window.stop)
        for buffer in self._buffers():
            buffer[list(rows), :, columns] = buffer[list(sources), :, columns]

    def drop(self, row: int) -> None:
        """Free a row; the last row takes its place."""
        window, last = self.window, self.window.rows - 1
        if row != last:
            columns = slice(window.start, window.stop)
            for buffer in self._buffers():
                buffer[row, :, columns] = buffer[last, :, columns]
            self._is_token[row, columns] = self._is_token[last, columns]
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()
        window.rows = last
        window.start = window.stop - max(self.lengths, default=0)

    def _make_room(self, rows: int, width: int) -> None:
        """Grow the capacity by `rows` rows, and the window to at least `width` columns, empty on the left."""
        window, extra = self.window, max(0, width - self.window.width)
        needed = window.rows + rows
        if needed > window.row_capacity or extra > window.start:
            columns = max(window.column_capacity, window.width + extra + COLUMN_CHUNK)
            self._reallocate(max(needed, window.row_capacity), columns, offset=extra)
            window = self.window
        opened = slice(window.start - extra, window.start)
        for buffer in self._buffers():
            buffer[: window.rows, :, opened] = 0
        self._is_token[: window.rows, opened] = False
        window.start -= extra

    def _reallocate(self, rows: int, columns: int, offset: int) -> None:
        """Move the columns in use to new buffers, `offset` columns from their front."""
        old, new = self.window, Window(self.window.rows, columns)
        new.row_capacity = _round_up(rows, ROW_CHUNK)
        new.start, new.stop = offset, offset + old.width
        for layer in self.layers:
            layer.keys = _moved(layer.keys, old, new)
            layer.values = _moved(layer.values, old, new)
            layer.window = new
        self._is_token = _moved(self._is_token[:, None, :, None], old, new)[:, 0, :, 0]
        self.window = new

    def _buffers(self) -> list[Tensor]:
        """Every key and value buffer, layer by layer."""
        return [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]


def _moved(buffer: Tensor, old: Window, new: Window) -> Tensor:
    """Copy the part in use of (rows, heads, columns, size) to the new window of a zeroed buffer."""
    moved = buffer.new_zeros(new.row_capacity, buffer.shape[1], new.column_capacity, buffer.shape[3])
    moved[: new.rows, :, new.start : new.stop] = buffer[: old.rows, :, old.start : old.stop]
    return moved


def _right_aligned(counts: Sequence[int], device: torch.device) -> Tensor:
    """Mask (rows, widest) that is True in the last `counts[row]` columns."""
    widest = max(counts)
    first = widest - torch.tensor(counts, device=device)
    return torch.arange(widest, device=device) >= first[:, None]


def _round_up(size: int, chunk: int) -> int:
    return -(-size // chunk) * chunk
