"""Reads how a model folder asks to be decoded: its generation_config, as our own decoding parameters."""

from __future__ import annotations

from typing import Any

from training.generation import DecodingParameters
from training.loading import LoadedModel


def stored_decoding(
    loaded: LoadedModel, max_new_tokens: int, *, temperature: float | None = None, top_p: float | None = None
) -> DecodingParameters:
    """The folder's sampling settings with this length limit; a temperature or top-p given here comes first.

    A folder that does not ask for sampling is decoded greedily.
    """
    stored: Any = loaded.model.generation_config
    own_temperature = _or(stored.temperature, 1.0) if stored.do_sample else 0.0
    return DecodingParameters(
        max_new_tokens=max_new_tokens,
        temperature=_or(temperature, own_temperature),
        top_p=_or(top_p, _or(stored.top_p, 1.0)),
        top_k=int(_or(stored.top_k, 0)),
        repetition_penalty=_or(stored.repetition_penalty, 1.0),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
