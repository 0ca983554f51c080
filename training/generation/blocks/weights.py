"""Weights of a `transformers` model as the blocks use them: joined where that saves operations, and never changed."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

JOINED_UP_TO = 100_000_000  # parameters; joining copies weights, and a larger model gains little from it

_WITH_MATRIX = (nn.Linear, Conv1D, nn.Embedding)


def has_plain_weights(model: nn.Module) -> bool:
    """Whether every weight is an ordinary tensor of one device and type, with adapters merged or off.

    Modules with hooks are not plain: offloaded weights are on their device only while the module's forward runs.
    """
    parameters = list(model.parameters())
    return (
        not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
        and not any(hasattr(module, "_hf_hook") for module in model.modules())
        and len({(parameter.device, parameter.dtype) for parameter in parameters}) == 1
        and all(parameter.is_floating_point() for parameter in parameters)
        and all(_is_settled(module) for module in model.modules() if isinstance(module, LoraLayer))
    )


def _is_settled(layer: LoraLayer) -> bool:
    return (layer.merged or layer.disable_adapters) and type(layer.get_base_layer()) in _WITH_MATRIX


def is_small(model: nn.Module) -> bool:
    """Whether the model's projections are worth joining."""
    return sum(parameter.numel() for parameter in model.parameters()) <= JOINED_UP_TO


class Projection:
    """Linear maps of the same input, their outputs side by side."""

    def __init__(self, *modules: nn.Module, is_joined: bool) -> None:
        """Take the weights of linear modules; joined, they are one matrix."""
        parts = [_matrix_and_bias(module) for module in modules]
        if is_joined and len(parts) > 1:
            parts = [(torch.cat([matrix for matrix, _ in parts]), _joined_bias(parts))]
        self._parts = parts

    def __call__(self, inputs: Tensor) -> Tensor:
        """(tokens, width) → (tokens, all outputs)."""
        outputs = [functional.linear(inputs, matrix, bias) for matrix, bias in self._parts]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


def plain(module: Any) -> Any:
    """The module itself, or the one that a merged or silent adapter wraps."""
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


def _matrix_and_bias(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    inner = plain(module)
    weight, bias = inner.weight.detach(), inner.bias
    matrix = weight.t() if isinstance(inner, Conv1D) else weight
    return matrix, None if bias is None else bias.detach()


def _joined_bias(parts: list[tuple[Tensor, Tensor | None]]) -> Tensor | None:
    if all(bias is None for _, bias in parts):
        return None
    return torch.cat([matrix.new_zeros(len(matrix)) if bias is None else bias for matrix, bias in parts])
