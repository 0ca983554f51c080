"""What each token added to the text of an answer, for answers that ask for it: stop strings and log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chat_app.inference.detokenise import Detokeniser
from chat_app.inference.stop_strings import StopStrings


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """What a token added to the answer's text, and its log-probability by the model (temperature 1, unfiltered).

    A token that ends within a character adds nothing; the one that completes the character adds it.
    """

    text: str
    logprob: float


class Transcript:
    """The text of an answer, token by token, on the engine's thread."""

    def __init__(self, detokeniser: Detokeniser, stops: StopStrings) -> None:
        """Begin an answer."""
        self._detokeniser = detokeniser
        self._stops = stops
        self._token_ids: list[int] = []
        self._text = ""
        self.has_met_stop = False

    def append(self, token_id: int, logprob: float) -> ScoredToken:
        """Take the next token."""
        self._token_ids.append(token_id)
        before, self._text = self._text, self._detokeniser.text(self._token_ids)
        self.has_met_stop = self._stops.find(self._text) is not None
        return ScoredToken(self._text[len(before) :], logprob)


def tokens_of(tokens: Sequence[ScoredToken], text: str) -> tuple[ScoredToken, ...]:
    """The tokens of a finished answer's text, without those of a stop string; one that reaches into it is cut."""
    kept, start = [], 0
    for token in tokens:
        end = start + len(token.text)
        if end <= len(text) or start < len(text):
            kept.append(replace(token, text=text[start:end]))
        start = end
    return tuple(kept)


def tokens_within(tokens: Sequence[ScoredToken], length: int) -> tuple[ScoredToken, ...]:
    """The tokens that lie wholly within the first `length` characters."""
    end = 0
    for count, token in enumerate(tokens):
        end += len(token.text)
        if end > length:
            return tuple(tokens[:count])
    return tuple(tokens)
