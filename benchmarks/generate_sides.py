"""The sides that `transformers` offers for concurrent streams, each as fast as it lets itself be set.

All get token ids, not text, and nobody turns their tokens into text: that favours them a little.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import ContinuousBatchingConfig

from benchmarks.chat_prompts import ChatPrompt
from benchmarks.streams_run import StreamsRun
from training.loading import LoadedModel

PAGE = 256  # tokens of a page of `generate_batch`, as the library has it
READ_TOGETHER = 512  # tokens in one forward pass of `generate_batch`; its mask grows with their square


class FirstToken:
    """Notes when `generate` hands over its first token; it hands over the prompt before."""

    def __init__(self) -> None:
        self.at: float | None = None
        self._has_prompt = False

    def put(self, value: Tensor) -> None:
        """Take the prompt, then a token of every row at a time."""
        if self._has_prompt and self.at is None:
            self.at = time.perf_counter()
        self._has_prompt = True

    def end(self) -> None:
        """Nothing is left to do."""


def behind_a_lock(loaded: LoadedModel, prompts: Sequence[ChatPrompt]) -> StreamsRun:
    """One `generate` after the other: what sixteen threads do that share a model and a lock."""
    began, tokens = time.perf_counter(), 0
    firsts = []
    for prompt in prompts:
        run = padded_together(loaded, [prompt])
        firsts.append(time.perf_counter() - began - run.seconds + run.first_token_seconds[0])
        tokens += run.tokens
    return StreamsRun(tokens, time.perf_counter() - began, tuple(firsts))


def padded_together(loaded: LoadedModel, prompts: Sequence[ChatPrompt]) -> StreamsRun:
    """One `generate` over all prompts, padded on the left."""
    began, first = time.perf_counter(), FirstToken()
    ids, mask = left_padded(loaded, [prompt.token_ids for prompt in prompts])
    model: Any = loaded.model
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=mask, streamer=first)
    seconds = time.perf_counter() - began
    assert first.at is not None
    return StreamsRun(int(found[:, ids.shape[1] :].numel()), seconds, (first.at - began,) * len(prompts))


def left_padded(loaded: LoadedModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, (prompts, longest prompt) each, on the model's device."""
    widest = max(len(prompt) for prompt in prompts)
    pad = loaded.chat_format.pad_token_id
    ids = [[pad] * (widest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (widest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    device = loaded.model.device
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def continuously(loaded: LoadedModel, prompts: Sequence[ChatPrompt]) -> StreamsRun:
    """`generate_batch`: the library's continuous batching, timed from its acceptance to the last token.

    Setting its memory up and taking it down, seconds each time, is left out; a service would do it once. The
    memory is sized for the prompts: by itself the library takes most of the machine's, and minutes for it.
    Raises RuntimeError where it does not give all tokens.
    """
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    model: Any = loaded.model
    new_tokens = int(model.generation_config.max_new_tokens)
    pages = sum(-(-(len(prompt.token_ids) + new_tokens) // PAGE) for prompt in prompts)
    found = model.generate_batch(
        [list(prompt.token_ids) for prompt in prompts],
        generation_config=model.generation_config,
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=pages + len(prompts), max_batch_tokens=READ_TOGETHER
        ),
        record_timestamps=True,
    )
    outputs = list(found.values())
    tokens = sum(len(output.generated_tokens) for output in outputs)
    if tokens != len(prompts) * new_tokens:
        raise RuntimeError(f"generate_batch gave {tokens} tokens, not {len(prompts) * new_tokens}.")
    began = min(output.created_time for output in outputs)
    firsts = tuple(output.timestamps[0] - began for output in outputs)
    return StreamsRun(tokens, max(output.timestamps[-1] for output in outputs) - began, firsts)
