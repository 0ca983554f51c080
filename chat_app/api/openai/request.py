"""The body of a request for a chat completion, checked field by field."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from chat_app.api.openai.errors import InvalidRequest
from chat_app.api.openai.messages import read_messages
from chat_app.api.openai.unsupported import UNSUPPORTED, WITHOUT_EFFECT, refuse_unsupported
from chat_app.services.completions import SEEDS, CompletionWish

MOST_NEW_TOKENS = 4096
MOST_STOP_STRINGS = 4
MOST_STOP_CHARACTERS = 200

NewTokens = Annotated[int, Field(ge=1, le=MOST_NEW_TOKENS)]
StopString = Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]


class StreamOptions(BaseModel):
    """`include_usage`: one more piece at the end, with the counts of tokens."""

    model_config = ConfigDict(extra="allow", strict=True)

    include_usage: bool | None = None


class ChatCompletionBody(BaseModel):
    """What is asked. What is left out is as in the chat: the service's own decoding settings."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MOST_STOP_STRINGS)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    max_tokens: NewTokens | None = None
    max_completion_tokens: NewTokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the counts of tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def wish(self) -> CompletionWish:
        """Build the service's value. Raises InvalidRequest for what cannot be met."""
        self._check()
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        decoding = {
            "max_new_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        return CompletionWish(
            messages=read_messages(self.messages),
            model=self.model,
            count=self.n or 1,
            seed=self.seed,
            decoding={name: value for name, value in decoding.items() if value is not None},
            stop_strings=tuple(stop),
            keep_tokens=bool(self.logprobs),
        )

    def _check(self) -> None:
        extra = self.model_extra or {}
        refuse_unsupported(
            {name: value for name, value in extra.items() if name not in WITHOUT_EFFECT}, UNSUPPORTED
        )
        if self.top_logprobs:
            raise InvalidRequest(
                "top_logprobs is not supported: the log-probability of the chosen token is kept, and not those "
                "of others. Leave it out; logprobs gives the chosen token's.",
                param="top_logprobs",
                code="unsupported_parameter",
            )
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise InvalidRequest(
                f"max_tokens is {self.max_tokens} and max_completion_tokens {self.max_completion_tokens}, which "
                "mean the same. Give one of them.",
                param="max_tokens",
            )
        if self.stream_options is not None:
            if not self.stream:
                raise InvalidRequest(
                    "stream_options goes with stream: true. Leave it out, or stream.", param="stream_options"
                )
            refuse_unsupported(
                self.stream_options.model_extra or {},
                {"include_obfuscation": ((False,), "nothing is added to the pieces to hide their length")},
                "stream_options.",
            )
