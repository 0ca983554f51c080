"""The generic path: any causal language model of `transformers`, by its own forward, over a cache of ours."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.generation.errors import InvalidDecoding
from training.generation.transformers_memory import KeyValueMemory


class TransformersForward:
    """A model with the memory of the rows that decode."""

    def __init__(self, model: Any, pad_token_id: int) -> None:
        """Look up what the model's `forward` takes. Raises InvalidDecoding if it has no key/value cache."""
        self.model = model
        self.device: torch.device = model.device
        self.pad_token_id = pad_token_id
        self._memory = KeyValueMemory(0, 0, self.device)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        if getattr(inner, "_is_stateful", False) or inner.config.is_encoder_decoder:
            raise InvalidDecoding(
                f"{type(inner).__name__} keeps another kind of state than keys and values. "
                "Use a decoder-only attention model, for instance GPT-2, Llama or Qwen3."
            )
        accepted = inspect.signature(inner.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted
        config = inner.config.get_text_config()
        self.vocab_size = int(config.vocab_size)
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self._bytes_per_token = _bytes_per_token(config, model.dtype)

    def bytes_for(self, rows: int, columns: int) -> int:
        """Bytes of keys and values that this many rows of this many tokens take."""
        return rows * columns * self._bytes_per_token

    def read(self, prompts: Sequence[Sequence[int]]) -> TransformersReading:
        """Begin to read prompts, beside the rows that decode."""
        return TransformersReading(self, prompts)

    def admit(self, reading: TransformersReading) -> None:
        """Take the rows of a finished reading behind the present ones."""
        if self._memory.rows:
            self._memory.append(reading.memory)
        else:
            self._memory = reading.memory

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Read one token per row; returns the next logits (rows, vocabulary), float32."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        return self.run(ids, self._memory, [1] * len(tokens))

    def rearrange(self, rows: Sequence[int], sources: Sequence[int]) -> None:
        """Let each of `rows` go on from what the row in `sources` has read; all of them have the same length."""
        self._memory.rearrange(rows, sources)

    def drop(self, row: int, tokens: Sequence[int]) -> None:
        """Free a row; the last row takes its place."""
        self._memory.drop(row)

    def run(self, ids: Tensor, memory: KeyValueMemory, counts: Sequence[int]) -> Tensor:
        """Run the model on right-aligned tokens: ids (rows, new columns), `counts` of them real per row."""
        optional: dict[str, Any] = {}
        if self._takes_positions:
            optional["position_ids"] = self._positions(memory.lengths, counts)
        if self._takes_logits_to_keep:
            optional["logits_to_keep"] = 1
        mask = memory.open(counts)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=memory,
            use_cache=True,
            return_dict=True,
            **optional,
        )
        memory.close(counts)
        logits: Tensor = output.logits[:, -1].float()
        return logits

    def _positions(self, lengths: Sequence[int], counts: Sequence[int]) -> Tensor:
        """Position of each new token in its own row, (rows, new columns); 0 under padding."""
        widest = max(counts)
        first = torch.tensor(
            [length + count - widest for length, count in zip(lengths, counts, strict=True)],
            device=self.device,
        )
        return (first[:, None] + torch.arange(widest, device=self.device)).clamp(min=0)


class TransformersReading:
    """Prompts being read side by side, left-padded, in a memory of their own."""

    def __init__(self, forward: TransformersForward, prompts: Sequence[Sequence[int]]) -> None:
        self._forward = forward
        self._lengths = [len(prompt) for prompt in prompts]
        self._widest = max(self._lengths)
        pad = forward.pad_token_id
        ids = [[pad] * (self._widest - len(prompt)) + list(prompt) for prompt in prompts]
        self._ids = torch.tensor(ids, device=forward.device)
        self._next = 0  # the first column that is not read yet
        self.memory = KeyValueMemory(len(prompts), self._widest + 1, forward.device)

    def advance(self, tokens: int) -> Tensor | None:
        """Read about `tokens` more; at the end of all prompts, the next logits of each: (prompts, vocabulary)."""
        stop = min(self._widest, self._next + max(1, tokens // len(self._lengths)))
        counts = [max(0, stop - max(self._next, self._widest - length)) for length in self._lengths]
        logits = self._forward.run(self._ids[:, self._next : stop], self.memory, counts)
        self._next = stop
        return logits if stop == self._widest else None


def _bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Keys and values of one token in all layers, by the names that configs commonly use."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(2 * config.num_hidden_layers * kv_heads * head_size * dtype.itemsize)
