"""One forward pass over any causal language model of `transformers`, with a memory of what came before."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.generation.errors import InvalidDecoding
from training.generation.memory import KeyValueMemory


class CausalForward:
    """A model seen by the decoder: token ids in, the logits of each row's next token out."""

    def __init__(self, model: Any, pad_token_id: int) -> None:
        """Look up what the model's `forward` takes. Raises InvalidDecoding if it has no key/value cache."""
        self.model = model
        self.device: torch.device = model.device
        self._pad_token_id = pad_token_id
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

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[KeyValueMemory, Tensor]:
        """Read whole prompts, left-padded; returns their memory and next logits (rows, vocabulary)."""
        counts = [len(prompt) for prompt in prompts]
        widest = max(counts)
        memory = KeyValueMemory(len(prompts), widest + 1, self.device)
        ids = [[self._pad_token_id] * (widest - len(prompt)) + list(prompt) for prompt in prompts]
        logits = self._run(torch.tensor(ids, device=self.device), memory, counts)
        return memory, logits

    def step(self, tokens: Sequence[int], memory: KeyValueMemory) -> Tensor:
        """Read one token per row; returns the next logits (rows, vocabulary)."""
        ids = torch.tensor(tokens, device=self.device)[:, None]
        return self._run(ids, memory, [1] * len(tokens))

    def _run(self, ids: Tensor, memory: KeyValueMemory, counts: Sequence[int]) -> Tensor:
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
