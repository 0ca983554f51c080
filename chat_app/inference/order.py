"""One answer as the engine's thread works on it: request, version, prompt, and the tokens so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from chat_app.inference.errors import GenerationFailed
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration, FinishReason, GenerationRequest
from chat_app.inference.stop_strings import FoundStop, StopStrings
from chat_app.inference.transcript import ScoredToken, Transcript, tokens_of
from chat_app.inference.versions import EncodedPrompt, ServedVersion, is_loaded


class Order:
    """What the engine knows of an answer and its reader does not; dropped when the answer is settled."""

    def __init__(
        self,
        order_id: int,
        request: GenerationRequest,
        version: Future[ServedVersion],
        wake_engine: Callable[[], None],
    ) -> None:
        """Bind a request to the version that will answer it, and tokenise now if that version is there.

        Raises PromptTooLong.
        """
        self.order_id = order_id
        self.request = request
        self.version = version
        self._stops = StopStrings(request.stop_strings)
        self.generation = Generation(
            wake_engine,
            version_id=version.result().version_id if is_loaded(version) else request.version_id,
            stops=self._stops,
        )
        self.submitted_at = time.monotonic()
        self._tokens: list[int] = []
        self._scored: list[ScoredToken] = []
        self._transcript: Transcript | None = None
        self._first_token_seconds: float | None = None
        self._prompt: EncodedPrompt | None = None
        if is_loaded(version):
            self._prompt = version.result().encode(request)

    @property
    def rows(self) -> int:
        """How many rows of the batch it takes: one, or one for every beam."""
        return self.request.parameters.beams

    @property
    def seconds(self) -> float:
        """Time since the submission."""
        return time.monotonic() - self.submitted_at

    def begin(self) -> None:
        """Join the batch of the version. Raises what loading it or reading the prompt raises."""
        version = self.version.result()
        if self._prompt is None:
            self._prompt = version.encode(self.request)
        version.batch.add(self.order_id, self._prompt.ids, self.request.parameters, self.request.seed)
        if self.request.stop_strings or self.request.keep_tokens:
            self._transcript = Transcript(version.detokeniser(), self._stops)
        self.generation.begin(version.detokeniser())

    def append(self, token_id: int, logprob: float = 0.0) -> None:
        """Add the next token."""
        if self._first_token_seconds is None:
            self._first_token_seconds = self.seconds
        self._tokens.append(token_id)
        self.generation.append(token_id, self._score(token_id, logprob))

    def _score(self, token_id: int, logprob: float) -> ScoredToken | None:
        """Follow the text where that was asked for; the token that ends the answer adds nothing to it."""
        if self._transcript is None or self.version.result().is_stop(token_id):
            return None
        scored = self._transcript.append(token_id, logprob)
        if not self.request.keep_tokens:
            return None
        self._scored.append(scored)
        return scored

    @property
    def is_at_first_token(self) -> bool:
        """Whether the newest token is the first."""
        return len(self._tokens) == 1

    @property
    def has_met_stop(self) -> bool:
        """Whether the text holds a stop string, so that it goes no further."""
        return self._transcript is not None and self._transcript.has_met_stop

    @property
    def natural_reason(self) -> FinishReason:
        """Why the last token is the last: the model ended its turn, or a limit of length did."""
        return "end" if self.version.result().is_stop(self._tokens[-1]) else "length"

    def finish(self, reason: FinishReason) -> None:
        """Settle with what there is; before the version is there, that is nothing."""
        text, version_id = "", self.request.version_id or 0
        token_ids: tuple[int, ...] = ()
        stop: FoundStop | None = None
        if is_loaded(self.version):
            version = self.version.result()
            text, token_ids = version.close_turn(self._tokens, reason)
            version_id = version.version_id
            stop = self._stops.find(text)
        if stop is not None:
            text = text[: stop.start]
        self.generation.settle(
            FinishedGeneration(
                text=text,
                token_ids=token_ids,
                finish_reason=reason if stop is None else "length",
                version_id=version_id,
                seed=self.request.seed,
                parameters=self.request.parameters,
                first_token_seconds=self._first_token_seconds,
                seconds=self.seconds,
                dropped_messages=self._prompt.dropped_messages if self._prompt else 0,
                example_exchanges=self._prompt.example_exchanges if self._prompt else 0,
                prompt_tokens=len(self._prompt.ids) if self._prompt else 0,
                stop_string=None if stop is None else stop.string,
                tokens=tokens_of(self._scored, text),
            )
        )

    def fail(self, message: str) -> None:
        """Settle with the reason why there is no answer."""
        self.generation.settle(GenerationFailed(message))
