"""Samples a completion for every prompt of a list: PPO's rollouts, the gate's answers, best-of-n."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from training.generation.batch import DecodingBatch, StepToken
from training.generation.parameters import DecodingParameters

MAX_ROWS = 64
REFILL_SHARE = 0.25  # joining rows copy memory, so wait until this share of the batch is free


@dataclass(frozen=True, slots=True)
class SampledCompletion:
    """A sampled completion; `token_ids` include the end token when the model ended it.

    `logprobs`, when asked for, are the model's own of these tokens (temperature 1, nothing filtered).
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    is_ended: bool


def sample_completions(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    parameters: DecodingParameters,
    seeds: Sequence[int],
    end_token_id: int,
    pad_token_id: int,
    keep_logprobs: bool = False,
    on_token: Callable[[int, int], None] | None = None,
    max_rows: int = MAX_ROWS,
) -> list[SampledCompletion]:
    """Sample one completion per prompt, in the order of the prompts.

    Prompts of like length are read together, at most `max_rows` rows decode at once, and finished rows leave
    the computation. `on_token(prompt_index, token_id)` is called at each token and may raise to stop. Dropout
    is off meanwhile. Raises ValueError for another number of seeds, PromptDoesNotFit, BrokenLogits.
    """
    if len(seeds) != len(prompts):
        raise ValueError(
            f"There are {len(prompts)} prompts and {len(seeds)} seeds; give one seed per prompt."
        )
    was_training = model.training
    model.eval()
    try:
        batch: DecodingBatch[int] = DecodingBatch(
            model, end_token_id=end_token_id, pad_token_id=pad_token_id, keep_logprobs=keep_logprobs
        )
        collected = _Collected(len(prompts), end_token_id, keep_logprobs)
        waiting = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        while waiting or len(batch):
            free = max_rows - len(batch)
            if not len(batch) or free >= max_rows * REFILL_SHARE:
                for index in waiting[:free]:
                    batch.add(index, prompts[index], parameters, seeds[index])
                waiting = waiting[free:]
            for step in batch.step():
                collected.take(step, on_token)
        return collected.completions()
    finally:
        model.train(was_training)


class _Collected:
    """The tokens sampled so far, by prompt."""

    def __init__(self, count: int, end_token_id: int, keep_logprobs: bool) -> None:
        self._tokens: list[list[int]] = [[] for _ in range(count)]
        self._logprobs: list[list[float]] = [[] for _ in range(count)]
        self._end_token_id = end_token_id
        self._keep_logprobs = keep_logprobs

    def take(self, step: StepToken[int], on_token: Callable[[int, int], None] | None) -> None:
        if step.error is not None:
            raise step.error
        index = step.row_id
        self._tokens[index].append(step.token_id)
        self._logprobs[index].append(step.logprob)
        if on_token is not None:
            on_token(index, step.token_id)

    def completions(self) -> list[SampledCompletion]:
        return [
            SampledCompletion(
                token_ids=tuple(tokens),
                logprobs=tuple(logprobs) if self._keep_logprobs else None,
                is_ended=tokens[-1] == self._end_token_id,
            )
            for tokens, logprobs in zip(self._tokens, self._logprobs, strict=True)
        ]
