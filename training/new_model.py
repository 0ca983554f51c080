"""Builds a new, untrained language model: GPT-2's block or Llama's, both of which `transformers` and vLLM know."""

from __future__ import annotations

from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from training.chat_format import ChatFormat
from training.learning_settings import Architecture

_INNER_STEP = 32  # the inner width of a gated layer is a multiple of it, for the matrix kernels


def new_model(
    architecture: Architecture,
    chat_format: ChatFormat,
    *,
    context_length: int,
    n_layer: int,
    n_head: int,
    n_embd: int,
) -> Any:
    """A model with random weights; input and output embeddings are one matrix, and nothing is dropped out.

    Llama's block (rotary positions, RMS norms, a gated layer of 8/3 of the width, no biases) has about as many
    parameters as GPT-2's at the same width and depth.
    """
    ids = {
        "bos_token_id": chat_format.start_token_id,
        "eos_token_id": chat_format.end_token_id,
        "pad_token_id": chat_format.pad_token_id,
    }
    if architecture == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=chat_format.vocab_size,
                max_position_embeddings=context_length,
                num_hidden_layers=n_layer,
                num_attention_heads=n_head,
                hidden_size=n_embd,
                intermediate_size=_INNER_STEP * round(8 * n_embd / 3 / _INNER_STEP),
                tie_word_embeddings=True,
                **ids,
            )
        )
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=chat_format.vocab_size,
            n_positions=context_length,
            n_layer=n_layer,
            n_head=n_head,
            n_embd=n_embd,
            resid_pdrop=0.0,  # a corpus seen for a few passes can hardly be memorised
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **ids,
        )
    )
