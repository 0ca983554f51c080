"""The objects of an answer in OpenAI's form: the whole completion, and the pieces of a stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_app.inference.request import FinishedGeneration
from chat_app.inference.transcript import ScoredToken


@dataclass(frozen=True, slots=True)
class Heading:
    """What every object of one answer says; `created` is in seconds since 1970."""

    public_id: str
    version_name: str
    created: int

    def over(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Put it over choices."""
        return {
            "id": self.public_id,
            "object": kind,
            "created": self.created,
            "model": self.version_name,
            "choices": choices,
        }


def completion(
    heading: Heading, finished: Sequence[FinishedGeneration], with_logprobs: bool
) -> dict[str, Any]:
    """Build the whole answer."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "logprobs": logprobs(one.tokens) if with_logprobs else None,
            "finish_reason": finish_reason(one),
        }
        for index, one in enumerate(finished)
    ]
    return heading.over("chat.completion", choices) | {"usage": usage(finished)} | about(heading, finished)


def chunk(
    heading: Heading,
    index: int,
    delta: dict[str, Any],
    *,
    tokens: dict[str, Any] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    """Build a piece of one choice of a stream."""
    choice = {"index": index, "delta": delta, "logprobs": tokens, "finish_reason": reason}
    return heading.over("chat.completion.chunk", [choice])


def about(heading: Heading, finished: Sequence[FinishedGeneration]) -> dict[str, Any]:
    """What OpenAI's form has no place for: the ids to vote by, and how many of the oldest messages did not fit."""
    ids = [f"{heading.public_id}-{index}" for index in range(len(finished))]
    dropped = max(one.dropped_messages for one in finished)
    return {"rapport": {"completion_ids": ids, "dropped_messages": dropped}}


def usage(finished: Sequence[FinishedGeneration]) -> dict[str, int]:
    """Count the tokens: the prompt's once, and those of all answers, with what ended them."""
    prompt = max(one.prompt_tokens for one in finished)
    written = sum(len(one.token_ids) for one in finished)
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


def finish_reason(finished: FinishedGeneration) -> str:
    """Say why an answer ended: "stop" by itself or at a stop string, "length" when it was cut off."""
    return "stop" if finished.finish_reason == "end" or finished.stop_string is not None else "length"


def logprobs(tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    """Build the log-probabilities of tokens; together their texts are the answer."""
    content = [
        {
            "token": token.text,
            "logprob": token.logprob,
            "bytes": list(token.text.encode()),
            "top_logprobs": [],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}
