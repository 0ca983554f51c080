import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tests.training.generation.conftest import CONTEXT, PAD, VOCABULARY, make_model
from training.generation.block_forward import BlockForward
from training.generation.blocks import blocks_of, weights
from training.generation.forward import forward_of
from training.generation.transformers_forward import TransformersForward


def read(model: Any, prompts: list[list[int]], *, per_step: int = 1000) -> torch.Tensor:
    """Next logits of every prompt by the fast path."""
    forward = forward_of(model, pad_token_id=PAD)
    assert isinstance(forward, BlockForward)
    reading = forward.read(prompts)
    with torch.inference_mode():
        while (logits := reading.advance(per_step)) is None:
            pass
    return logits


def next_logits(model: Any, prompt: list[int]) -> torch.Tensor:
    """The same by `transformers`."""
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([prompt])).logits[0, -1]
    return logits


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("per_step", [1000, 37])
def test_logits_are_those_of_the_library(architecture: str, per_step: int, prompts: list[list[int]]) -> None:
    model = make_model(architecture)
    ours = read(model, prompts, per_step=per_step)
    for logits, prompt in zip(ours, prompts, strict=True):
        torch.testing.assert_close(logits, next_logits(model, prompt), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_a_model_too_large_to_join_its_weights_gives_the_same_logits(
    architecture: str, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(architecture)
    joined = read(model, prompts)
    monkeypatch.setattr(weights, "JOINED_UP_TO", 0)
    torch.testing.assert_close(read(model, prompts), joined, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rope", [{"rope_type": "linear", "factor": 2.0}, "llama3"])
def test_scaled_rotary_embeddings_are_those_of_the_library(rope: Any, prompts: list[list[int]]) -> None:
    if rope == "llama3":
        rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope["original_max_position_embeddings"] = 64
    model = llama(rope_parameters={"rope_theta": 10000.0, **rope})
    for logits, prompt in zip(read(model, prompts), prompts, strict=True):
        torch.testing.assert_close(logits, next_logits(model, prompt), atol=1e-3, rtol=1e-4)


def test_biases_and_separate_embeddings_are_taken(prompts: list[list[int]]) -> None:
    model = llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    for logits, prompt in zip(read(model, prompts), prompts, strict=True):
        torch.testing.assert_close(logits, next_logits(model, prompt), atol=1e-3, rtol=1e-4)


def test_merged_adapters_are_in_the_weights_and_loose_ones_go_the_generic_way(
    prompts: list[list[int]],
) -> None:
    model = make_model("llama")
    bare = next_logits(model, prompts[0])
    adapted = with_adapter(model)
    assert isinstance(forward_of(adapted, pad_token_id=PAD), TransformersForward)
    expected = next_logits(adapted, prompts[0])
    assert (expected - bare).abs().max() > 0.1
    adapted.merge_adapter()
    torch.testing.assert_close(read(adapted, prompts)[0], expected, atol=1e-3, rtol=1e-4)


def test_disabled_adapters_leave_the_weights_alone(prompts: list[list[int]]) -> None:
    model = make_model("gpt2")
    expected = next_logits(model, prompts[0])
    adapted = with_adapter(model, fan_in_fan_out=True)
    with adapted.disable_adapter():
        torch.testing.assert_close(read(adapted, prompts)[0], expected, atol=1e-3, rtol=1e-4)


def test_angles_that_change_with_the_length_go_the_generic_way() -> None:
    model = llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})
    assert blocks_of(model) is None


def test_a_sliding_window_goes_the_generic_way() -> None:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=VOCABULARY, intermediate_size=48, **shape, **sliding))
    assert blocks_of(model) is None


def test_attention_scaled_by_layer_goes_the_generic_way() -> None:
    model = make_model("gpt2")
    model.config.scale_attn_by_inverse_layer_idx = True
    assert blocks_of(model) is None


def test_another_architecture_goes_the_generic_way() -> None:
    assert isinstance(forward_of(make_model("gpt_neo"), pad_token_id=PAD), TransformersForward)


def test_mixed_weights_go_the_generic_way() -> None:
    model = make_model("llama")
    model.model.norm.to(torch.float64)
    assert blocks_of(model) is None


def test_bytes_are_those_of_the_keys_and_values() -> None:
    for architecture in ("llama", "gpt_neo"):
        forward = forward_of(make_model(architecture), pad_token_id=PAD)
        heads, head_size = (2, 8) if architecture == "llama" else (2, 16)
        assert forward.bytes_for(3, 10) == 3 * 10 * 2 * 2 * heads * head_size * 4  # keys and values, 2 layers


def with_adapter(model: Any, **options: Any) -> Any:
    """The model with an adapter that changes its logits."""
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False, **options)
    with warnings.catch_warnings():  # PEFT 0.21 reads a name that transformers 5.23 has given up
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(model, config)


def llama(**options: Any) -> Any:
    """A random Llama with other settings than the usual."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, intermediate_size=48, **shape, **options
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model.eval()
