"""What can go wrong while decoding, each with its remedy in the message."""

from __future__ import annotations


class InvalidDecoding(ValueError):
    """A decoding parameter outside its range, or a model this core cannot decode with."""


class PromptDoesNotFit(ValueError):
    """A prompt that is empty, leaves no room in the context, or holds ids outside the vocabulary."""


class BrokenLogits(RuntimeError):
    """The model produced no usable probabilities (NaN or infinity)."""
