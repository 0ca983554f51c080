"""Streams answers as server-sent events in OpenAI's form, piece by piece and a last word."""

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from chat_app.api.openai.errors import described
from chat_app.api.openai.response import Heading, about, chunk, finish_reason, logprobs, usage
from chat_app.inference.transcript import ScoredToken
from chat_app.services.completions import CompletionRun
from chat_app.services.merging import Finished

logger = logging.getLogger(__name__)

DONE = "data: [DONE]\n\n"


class ChoiceStream:
    """One choice of a stream: turns the answer so far into the piece that is new."""

    def __init__(self, heading: Heading, index: int, with_logprobs: bool) -> None:
        self._heading = heading
        self._index = index
        self._with_logprobs = with_logprobs
        self._sent_characters = 0
        self._sent_tokens = 0

    def opening(self) -> dict[str, Any]:
        """Say who speaks."""
        return chunk(self._heading, self._index, {"role": "assistant", "content": ""})

    def piece(
        self, text: str, tokens: Sequence[ScoredToken], *, is_last: bool = False
    ) -> dict[str, Any] | None:
        """Give what has come since the last piece, if anything has; the last one may have tokens without text."""
        new_text, new_tokens = text[self._sent_characters :], tokens[self._sent_tokens :]
        if not new_text and not (is_last and new_tokens):
            return None
        self._sent_characters, self._sent_tokens = len(text), len(tokens)
        scores = logprobs(new_tokens) if self._with_logprobs else None
        return chunk(self._heading, self._index, {"content": new_text}, tokens=scores)


async def stream(
    run: CompletionRun, heading: Heading, *, with_logprobs: bool, with_usage: bool
) -> AsyncGenerator[str, None]:
    """Yield the events of all choices, and end the answers when the client is gone.

    The choices close when all of them are stored, so that whoever reads why one ended can vote on it.
    """
    no_usage: dict[str, Any] = {"usage": None} if with_usage else {}
    try:
        async for piece in _pieces(run, heading, with_logprobs):
            yield _event(piece | no_usage)
        finished = await run.finished()
        for index, one in enumerate(finished):
            closing = chunk(heading, index, {}, reason=finish_reason(one))
            yield _event(closing | about(heading, finished) | no_usage)
        if with_usage:
            yield _event(heading.over("chat.completion.chunk", []) | {"usage": usage(finished)})
        yield DONE
    except Exception as error:  # the status is sent already: the stream itself has to say it
        status, body = described(error)
        if status >= 500:
            logger.error("The stream of %s failed", heading.public_id, exc_info=error)
        yield _event(body)
    finally:
        run.cancel()


async def _pieces(
    run: CompletionRun, heading: Heading, with_logprobs: bool
) -> AsyncGenerator[dict[str, Any], None]:
    choices = [ChoiceStream(heading, index, with_logprobs) for index in range(len(run.generations))]
    for choice in choices:
        yield choice.opening()
    async with aclosing(run.steps()) as steps:
        async for step in steps:
            is_last = isinstance(step, Finished)
            now = step.answer if isinstance(step, Finished) else step
            piece = choices[step.index].piece(now.text, now.tokens, is_last=is_last)
            if piece is not None:
                yield piece


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
