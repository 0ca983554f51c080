"""Takes a model's ends away, so that every answer of a measurement has the same number of tokens."""

from __future__ import annotations

from dataclasses import replace

from transformers import GenerationConfig

from training.chat_format import ChatFormat
from training.generation import DecodingParameters
from training.loading import LoadedModel

NEVER = -1  # an end token that does not occur, so that every row decodes to the limit


class EndlessChatFormat(ChatFormat):
    """A chat format in which no token ends a turn."""

    @property
    def special_ids(self) -> frozenset[int]:
        """None: control tokens are ordinary ones here."""
        return frozenset()

    @property
    def end_token_id(self) -> int:
        """A token that does not occur."""
        return NEVER


def served_endlessly(loaded: LoadedModel) -> LoadedModel:
    """The same model for the inference engine, without ends."""
    return replace(loaded, chat_format=EndlessChatFormat(loaded.chat_format.tokenizer))


def generate_endlessly(loaded: LoadedModel, parameters: DecodingParameters) -> None:
    """Give the model a generation config of these parameters without an end token."""
    is_sampled = not parameters.is_greedy
    loaded.model.generation_config = GenerationConfig(
        do_sample=is_sampled,
        temperature=parameters.temperature if is_sampled else None,
        top_p=parameters.top_p if is_sampled else None,
        top_k=parameters.top_k,
        repetition_penalty=parameters.repetition_penalty,
        max_new_tokens=parameters.max_new_tokens,
        pad_token_id=loaded.chat_format.pad_token_id,
    )
