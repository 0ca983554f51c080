"""Transformer blocks that we compute ourselves, from the weights of a `transformers` model."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from transformers import GPT2LMHeadModel, LlamaForCausalLM, Qwen3ForCausalLM

from training.generation.blocks.gpt2 import Gpt2Blocks, has_gpt2_blocks
from training.generation.blocks.llama import LlamaBlocks, has_llama_blocks
from training.generation.blocks.weights import has_plain_weights
from training.generation.slot_memory import Attend, MemoryShape


class Blocks(Protocol):
    """All layers of one model; tokens of all rows are laid end to end."""

    memory_shape: MemoryShape
    vocab_size: int
    context_length: int

    def hidden(self, token_ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """States before the head, (tokens, width), of ids and positions (tokens,).

        `attend(layer, queries, keys, values)` takes (tokens, heads, head size) each and gives (tokens, width).
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, float32 (tokens, vocabulary)."""
        ...

    def empty_hidden(self, tokens: int) -> Tensor:
        """Room for the states of this many tokens, (tokens, width)."""
        ...


def blocks_of(model: Any) -> Blocks | None:
    """The blocks of a GPT-2, Llama or Qwen3 model; None for another or one with something unusual in it.

    Unusual is what the blocks here do not compute: sliding windows, rotary embeddings that change with the
    length, quantised weights, adapters that are not merged, weights on several devices.
    """
    inner: nn.Module = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not has_plain_weights(inner):
        return None
    if type(inner) is GPT2LMHeadModel and has_gpt2_blocks(inner):
        return Gpt2Blocks(inner)
    if type(inner) in (LlamaForCausalLM, Qwen3ForCausalLM) and has_llama_blocks(inner):
        return LlamaBlocks(inner)
    return None
