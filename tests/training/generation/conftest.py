"""Random two-layer models of four architectures, with sharp enough logits that greedy choices are no ties."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 120
CONTEXT = 160
END, PAD = 0, 1
ARCHITECTURES = ("gpt2", "gpt_neo", "llama", "qwen3")


def make_model(architecture: str, *, seed: int = 0) -> Any:
    """Make a random model; its weights are scaled up so that its logits differ clearly."""
    ids = {"vocab_size": VOCABULARY, "bos_token_id": END, "eos_token_id": END, "pad_token_id": PAD}
    grouped = {
        "max_position_embeddings": CONTEXT,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture == "gpt2":
            model: Any = GPT2LMHeadModel(
                GPT2Config(n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, **ids)
            )
        elif architecture == "gpt_neo":
            layers = {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8}
            shape = {"max_position_embeddings": CONTEXT, "hidden_size": 32, "num_heads": 2}
            model = GPTNeoForCausalLM(GPTNeoConfig(**layers, **shape, **ids))
        elif architecture == "llama":
            model = LlamaForCausalLM(LlamaConfig(**grouped, **ids))
        else:
            model = Qwen3ForCausalLM(Qwen3Config(head_dim=8, **grouped, **ids))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()


@pytest.fixture(scope="session", params=ARCHITECTURES)
def any_model(request: pytest.FixtureRequest) -> Any:
    """Each architecture in turn."""
    return make_model(str(request.param))


@pytest.fixture(scope="session")
def gpt2() -> Any:
    """One GPT-2 for tests that leave it as it is."""
    return make_model("gpt2")


@pytest.fixture(scope="session")
def prompts() -> list[list[int]]:
    """Prompts of very different lengths."""
    generator = torch.Generator().manual_seed(3)
    lengths = (5, 90, 3, 17, 60, 9, 40, 1)
    return [torch.randint(2, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
