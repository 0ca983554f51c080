"""GPT-2's block (Radford et al. 2019): layer norm before attention and feed-forward, learned positions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional
from transformers.activations import ACT2FN

from training.generation.blocks.weights import Projection, plain
from training.generation.slot_memory import Attend, MemoryShape, memory_dtype


def has_gpt2_blocks(model: Any) -> bool:
    """Whether attention is scaled in the usual way."""
    config = model.config
    return config.scale_attn_weights and not (
        config.scale_attn_by_inverse_layer_idx or config.add_cross_attention
    )


class Gpt2Blocks:
    """All layers of a GPT2LMHeadModel."""

    def __init__(self, model: Any) -> None:
        """Take the model's weights as they are now."""
        config, inner = model.config, model.transformer
        self._embedding: Tensor = plain(inner.wte).weight.detach()
        self._positions: Tensor = plain(inner.wpe).weight.detach()
        self._norm = _layer_norm(inner.ln_f)
        self._head = Projection(model.lm_head, is_joined=False)
        self._layers = [_Layer(layer, config) for layer in inner.h]
        self.memory_shape = MemoryShape(
            layers=config.n_layer,
            heads=config.n_head,
            head_size=config.n_embd // config.n_head,
            dtype=memory_dtype(self._embedding),
            device=self._embedding.device,
        )
        self.vocab_size = int(config.vocab_size)
        self.context_length = int(config.n_positions)

    def hidden(self, token_ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """States before the head, (tokens, width), of ids and positions (tokens,)."""
        known = positions.clamp(max=self.context_length - 1)  # padding may stand beyond the table
        states = functional.embedding(token_ids, self._embedding)
        states = states + functional.embedding(known, self._positions)
        head = (len(states), self.memory_shape.heads, self.memory_shape.head_size)
        for number, layer in enumerate(self._layers):
            projected = layer.queries_keys_values(layer.norm(states)).chunk(3, dim=-1)
            queries, keys, values = (part.reshape(head) for part in projected)
            states = states + layer.output(attend(number, queries, keys, values))
            states = states + layer.down(layer.activation(layer.up(layer.mlp_norm(states))))
        return self._norm(states)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the next token, float32 (tokens, vocabulary)."""
        return self._head(hidden).float()

    def empty_hidden(self, tokens: int) -> Tensor:
        """Room for the states of this many tokens, (tokens, width)."""
        return self._embedding.new_empty(tokens, self._embedding.shape[1])


class _Layer:
    """The weights of one layer."""

    def __init__(self, layer: Any, config: Any) -> None:
        self.norm, self.mlp_norm = _layer_norm(layer.ln_1), _layer_norm(layer.ln_2)
        self.queries_keys_values = Projection(layer.attn.c_attn, is_joined=False)
        self.output = Projection(layer.attn.c_proj, is_joined=False)
        self.up = Projection(layer.mlp.c_fc, is_joined=False)
        self.down = Projection(layer.mlp.c_proj, is_joined=False)
        self.activation = _activation(config.activation_function)


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation by its name in the config; the library spells out the tanh approximation, torch fuses it."""
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return partial(functional.gelu, approximate="tanh")
    named: Callable[[Tensor], Tensor] = ACT2FN[name]
    return named


def _layer_norm(module: Any) -> Callable[[Tensor], Tensor]:
    weight, bias = module.weight.detach(), module.bias.detach()
    return partial(
        functional.layer_norm, normalized_shape=weight.shape, weight=weight, bias=bias, eps=module.eps
    )
