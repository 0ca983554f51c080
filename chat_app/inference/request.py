"""What goes into the inference engine and what comes out, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from chat_app.inference.transcript import ScoredToken
from training.generation import DecodingParameters

FinishReason = Literal["end", "length", "stopped"]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer wanted: to which messages, from which version (None is the one being served), and how.

    `examples` are exchanges for the model to imitate: they stand before the conversation, after its system message,
    and give way to it where the context is too small. `stop_strings` end the answer when its text comes to hold one,
    and are not in it. `keep_tokens` asks for each token's text and log-probability. `asker` says who wants it, for
    places are given out fairly between askers: one text per person, or per anonymous caller.
    """

    prompt: Sequence[Mapping[str, str]]
    parameters: DecodingParameters = field(default_factory=DecodingParameters)
    seed: int = 0
    version_id: int | None = None
    examples: Sequence[Mapping[str, str]] = ()
    stop_strings: tuple[str, ...] = ()
    keep_tokens: bool = False
    asker: str = ""


@dataclass(frozen=True, slots=True)
class GenerationEvent:
    """How far an answer is: its whole text so far, or its place in the queue (1 is next) while it waits.

    `tokens` are those of the text, where they were asked for.
    """

    text: str
    queue_position: int | None = None
    tokens: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True, slots=True)
class FinishedGeneration:
    """A finished answer and where it came from.

    `finish_reason`: "end" the model ended its turn, and `token_ids` ends with the end token; "length" a limit
    of tokens, context or time cut it off, or a stop string, which is then named; "stopped" it was cancelled, or the
    service shut down. Times count from the submission; `first_token_seconds` is None when no token came.
    `dropped_messages` are the oldest messages, that did not fit into the context; `example_exchanges` is how many
    examples did. `prompt_tokens` is the prompt's length; `tokens` are those of the text, where they were asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    version_id: int
    seed: int
    parameters: DecodingParameters
    first_token_seconds: float | None
    seconds: float
    dropped_messages: int
    example_exchanges: int = 0
    prompt_tokens: int = 0
    stop_string: str | None = None
    tokens: tuple[ScoredToken, ...] = ()
