"""Makes a real model folder in a second: a small byte-level BPE, our chat template, two random layers."""

from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from training.tokenizer import train_tokenizer

VOCAB_SIZE = 400
CONTEXT = 128

SENTENCES = (
    "Hello! How are you today?",
    "I am fine, thank you. What is your favorite food?",
    "I love pizza, and you?",
    "What did you do at the weekend? I read a good book.",
    "Yes, I think so. Do you like music?",
    "The weather is nice and the sun is warm.",
    "你好！我是一个很小的模型。",
)


def make_tiny_model(
    folder: Path, *, seed: int = 0, architecture: str = "gpt2", context: int = CONTEXT
) -> Path:
    """Write a random model of `architecture` ("gpt2" or "llama") with its tokenizer to `folder`.

    Two layers, 32 dimensions, 400 tokens, float32 safetensors. The same seed gives the same weights.
    """
    tokenizer = train_tokenizer(SENTENCES, vocab_size=VOCAB_SIZE, context_length=context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(architecture, len(tokenizer), context, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _model(architecture: str, vocab_size: int, context: int, tokenizer: Any) -> Any:
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if architecture == "gpt2":
        shape = {"n_positions": context, "n_embd": 32, "n_layer": 2, "n_head": 2}
        return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, **shape, **ids))
    if architecture == "llama":
        shape = {"max_position_embeddings": context, "hidden_size": 32, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
        return LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **shape, **heads, **ids))
    raise ValueError(f'There is no tiny model of architecture "{architecture}"; use "gpt2" or "llama".')
