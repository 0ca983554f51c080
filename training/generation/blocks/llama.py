"""Llama's block (Touvron et al. 2023), and Qwen3's, which also normalises queries and keys (Yang et al. 2025)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN

from training.generation.blocks.weights import Projection, is_small, plain
from training.generation.slot_memory import Attend, MemoryShape, memory_dtype

_STEADY_ROPE = ("default", "linear", "llama3")  # the others' angles depend on the length


def has_llama_blocks(model: Any) -> bool:
    """Whether every layer attends to everything before it, with angles that do not change with the length."""
    config = model.config
    return (
        config.rope_parameters.get("rope_type", "default") in _STEADY_ROPE
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and not getattr(config, "use_sliding_window", False)
    )


class LlamaBlocks:
    """All layers of a LlamaForCausalLM or Qwen3ForCausalLM."""

    def __init__(self, model: Any) -> None:
        """Take the model's weights as they are now."""
        config, inner = model.config, model.model
        self._embedding: Tensor = plain(inner.embed_tokens).weight.detach()
        self._norm: Tensor = inner.norm.weight.detach()
        self._eps: float = config.rms_norm_eps
        self._head = Projection(model.lm_head, is_joined=False)
        self._rotation = _Rotation(inner.rotary_emb)
        self._heads: int = config.num_attention_heads
        first = inner.layers[0].self_attn
        self.memory_shape = MemoryShape(
            layers=config.num_hidden_layers,
            heads=config.num_key_value_heads,
            head_size=first.head_dim,
            dtype=memory_dtype(self._embedding),
            device=self._embedding.device,
        )
        self._layers = [
            _Layer(layer, self._heads, config, is_joined=is_small(model)) for layer in inner.layers
        ]
        self.vocab_size = int(config.vocab_size)
        self.context_length = int(config.max_position_embeddings)

    def hidden(self, token_ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """States before the head, (tokens, width), of ids and positions (tokens,)."""
        states = functional.embedding(token_ids, self._embedding)
        cos, sin = self._rotation.at(positions, states.dtype)
        heads, kv_heads = self._heads, self.memory_shape.heads
        for number, layer in enumerate(self._layers):
            projected = layer.queries_keys_values(rms_norm(states, layer.norm, self._eps))
            projected = projected.view(len(states), -1, self.memory_shape.head_size)
            turning, values = projected[:, : heads + kv_heads], projected[:, heads + kv_heads :]
            if layer.head_norm is not None:
                turning = rms_norm(turning, layer.head_norm, self._eps)
            turned = rotate(turning, cos, sin)
            attended = attend(number, turned[:, :heads], turned[:, heads:], values)
            states = states + layer.output(attended)
            gate, up = layer.gate_up(rms_norm(states, layer.mlp_norm, self._eps)).chunk(2, dim=-1)
            states = states + layer.down(layer.activation(gate) * up)
        return rms_norm(states, self._norm, self._eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, float32 (tokens, vocabulary)."""
        return self._head(hidden).float()

    def empty_hidden(self, tokens: int) -> Tensor:
        """Room for the states of this many tokens, (tokens, width)."""
        return self._embedding.new_empty(tokens, self._embedding.shape[1])


class _Layer:
    """The weights of one layer."""

    def __init__(self, layer: Any, heads: int, config: Any, *, is_joined: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.norm: Tensor = layer.input_layernorm.weight.detach()
        self.mlp_norm: Tensor = layer.post_attention_layernorm.weight.detach()
        self.queries_keys_values = Projection(
            attention.q_proj, attention.k_proj, attention.v_proj, is_joined=is_joined
        )
        self.output = Projection(attention.o_proj, is_joined=is_joined)
        self.gate_up = Projection(mlp.gate_proj, mlp.up_proj, is_joined=is_joined)
        self.down = Projection(mlp.down_proj, is_joined=is_joined)
        self.activation: nn.Module = ACT2FN[config.hidden_act]
        self.head_norm: Tensor | None = None  # (query and key heads, head size)
        if hasattr(attention, "q_norm"):
            per_head = [attention.q_norm.weight] * heads
            per_head += [attention.k_norm.weight] * config.num_key_value_heads
            self.head_norm = torch.stack([weight.detach() for weight in per_head])


class _Rotation:
    """Rotary position embedding (Su et al. 2021) from the model's own frequencies."""

    def __init__(self, rotary: Any) -> None:
        frequencies = rotary.inv_freq.float()
        self._frequencies = torch.cat((frequencies, frequencies))
        self._sign = torch.cat((-torch.ones_like(frequencies), torch.ones_like(frequencies)))
        self._scale: float = rotary.attention_scaling

    def at(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of every position, (tokens, 1, head size) each."""
        angles = positions[:, None].float() * self._frequencies
        cos, sin = angles.cos() * self._scale, angles.sin() * (self._sign * self._scale)
        return cos[:, None].to(dtype), sin[:, None].to(dtype)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of every head (tokens, heads, head size) by their position's angles."""
    first, second = heads.chunk(2, dim=-1)
    return torch.addcmul(heads * cos, torch.cat((second, first), dim=-1), sin)


def rms_norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide by the root mean square over the last axis, summed in float32, and scale by `weight`."""
    norm = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
    scale: Tensor = norm.square_().mul_(1 / states.shape[-1]).add_(eps).rsqrt_()
    return states * scale.to(states.dtype) * weight
