"""Token-level decoding for rollouts and for serving: it knows tokens and models, no text and no people."""

from training.generation.batch import DecodingBatch, StepToken
from training.generation.errors import BrokenLogits, InvalidDecoding, PromptDoesNotFit
from training.generation.parameters import DecodingParameters
from training.generation.rollout import SampledCompletion, sample_completions

__all__ = [
    "BrokenLogits",
    "DecodingBatch",
    "DecodingParameters",
    "InvalidDecoding",
    "PromptDoesNotFit",
    "SampledCompletion",
    "StepToken",
    "sample_completions",
]
