"""The fast path: known blocks, straight from the model's weights, over a memory of our own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.generation.blocks import Blocks
from training.generation.prefixes import PrefixStore
from training.generation.slot_memory import SlotMemory, SlotPass


class BlockForward:
    """A model's blocks with the memory of the rows that decode, and of finished rows for later prompts."""

    def __init__(self, blocks: Blocks, *, prefix_bytes: int) -> None:
        """Begin without rows; keep up to `prefix_bytes` of finished ones."""
        self.device = blocks.memory_shape.device
        self.vocab_size = blocks.vocab_size
        self.context_length: int | None = blocks.context_length
        self._blocks = blocks
        self._memory = SlotMemory(blocks.memory_shape)
        self._prefixes = PrefixStore(prefix_bytes)

    def bytes_for(self, rows: int, columns: int) -> int:
        """Bytes of keys and values that this many rows of this many tokens take."""
        return rows * columns * self._blocks.memory_shape.bytes_per_token

    def read(self, prompts: Sequence[Sequence[int]]) -> BlockReading:
        """Begin to read prompts; equal ones are read once, and known beginnings not at all."""
        return BlockReading(self._blocks, self._prefixes, prompts)

    def admit(self, reading: BlockReading) -> None:
        """Take the rows of a finished reading behind the present ones."""
        self._memory.add_copies(reading.memory, reading.rows)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read one token per row; returns the next logits (rows, vocabulary), float32."""
        ids = torch.tensor(tokens, device=self.device)
        return self._blocks.logits(run_blocks(self._blocks, self._memory, ids, [1] * len(tokens)))

    def rearrange(self, rows: Sequence[int], sources: Sequence[int]) -> None:
        """Let each of `rows` go on from what the row in `sources` has read; all of them have the same length."""
        self._memory.rearrange(rows, sources)

    def drop(self, row: int, tokens: Sequence[int]) -> None:
        """Free a row that has read `tokens`, and remember them if that is wanted; none for a broken row."""
        if tokens and self._prefixes.max_bytes:
            self._prefixes.add(tokens, self._memory.copy_out(row))
        self._memory.drop(row)


class BlockReading:
    """Prompts being read in a memory of their own, each different one once."""

    def __init__(self, blocks: Blocks, prefixes: PrefixStore, prompts: Sequence[Sequence[int]]) -> None:
        """Start each different prompt with the longest beginning that is known."""
        self._blocks = blocks
        different = dict.fromkeys(tuple(prompt) for prompt in prompts)
        known = {prompt: prefixes.longest(prompt) for prompt in different}
        rest = {prompt: len(prompt) - _length(known[prompt]) for prompt in different}
        self._prompts = sorted(different, key=lambda prompt: -rest[prompt])  # so the first rows read longest
        self.rows = [self._prompts.index(tuple(prompt)) for prompt in prompts]
        self.memory = SlotMemory(blocks.memory_shape)
        self.memory.add_empty(len(self._prompts))
        for row, prompt in enumerate(self._prompts):
            if (memory := known[prompt]) is not None:
                self.memory.copy_in(row, memory)
        self._last = blocks.empty_hidden(len(self._prompts))  # the state at each prompt's last token

    def advance(self, tokens: int) -> Tensor | None:
        """Read about `tokens` more; at the end of all prompts, the next logits of each: (prompts, vocabulary)."""
        left = [
            len(prompt) - length for prompt, length in zip(self._prompts, self.memory.lengths, strict=True)
        ]
        unfinished = sum(count > 0 for count in left)
        width = max(1, tokens // unfinished)
        counts = [min(width, count) for count in left[:unfinished]]
        widest = max(counts)
        ids = [
            [*prompt[length : length + count], *[0] * (widest - count)]
            for prompt, length, count in zip(self._prompts, self.memory.lengths, counts, strict=False)
        ]
        hidden = run_blocks(
            self._blocks, self.memory, torch.tensor(ids, device=self.memory.shape.device).flatten(), counts
        )
        ends = [row for row, count in enumerate(counts) if count == left[row]]
        if ends:
            self._last[ends] = hidden[[row * widest + counts[row] - 1 for row in ends]]
        if max(left) > widest:
            return None
        return self._blocks.logits(self._last)[self.rows]


def run_blocks(blocks: Blocks, memory: SlotMemory, token_ids: Tensor, counts: Sequence[int]) -> Tensor:
    """Run new tokens of the memory's first rows through the blocks.

    token_ids (rows · widest,), each row's `counts[row]` tokens padded on the right. Returns the last layer's
    states, (rows · widest, width).
    """
    over = SlotPass(memory, counts)
    hidden = blocks.hidden(token_ids, over.positions.flatten(), over.attend)
    over.close()
    return hidden


def _length(memory: Tensor | None) -> int:
    return 0 if memory is None else memory.shape[3]
