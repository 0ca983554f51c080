"""Continuous batching: the rows of one model's batch join and leave between tokens."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from training.generation.errors import BrokenLogits, PromptDoesNotFit
from training.generation.forward import CausalForward
from training.generation.memory import KeyValueMemory
from training.generation.parameters import DecodingParameters
from training.generation.sampling import SamplingSettings, choose_tokens, chosen_logprobs

RowId = TypeVar("RowId", bound=Hashable)


@dataclass(frozen=True, slots=True)
class StepToken(Generic[RowId]):
    """One row's next token, or the error that ended this row alone.

    `logprob` is the model's own (temperature 1, nothing filtered) and 0 where the batch keeps none.
    """

    row_id: RowId
    token_id: int
    logprob: float
    is_last: bool
    error: Exception | None = None


@dataclass(slots=True)
class _Row(Generic[RowId]):
    """A completion in progress; `uniforms` are all its random numbers, drawn from its own seed."""

    row_id: RowId
    prompt: list[int]
    parameters: DecodingParameters
    uniforms: list[float]
    limit: int
    tokens: list[int] = field(default_factory=list)


class DecodingBatch(Generic[RowId]):
    """Decodes many completions of one model together, a token of each per step.

    A row's tokens depend on its prompt, parameters and seed alone, whatever else is in the batch (up to
    ties of floating point). A row leaves by itself with its last token: a stop token, its length limit, or
    the end of the context.
    """

    def __init__(
        self,
        model: Any,
        *,
        end_token_id: int,
        pad_token_id: int,
        other_stop_ids: Collection[int] = (),
        keep_logprobs: bool = False,
    ) -> None:
        """Take a causal model in evaluation mode; `other_stop_ids` end a row as `end_token_id` does."""
        self._forward = CausalForward(model, pad_token_id)
        self._stop_ids = frozenset([end_token_id, *other_stop_ids])
        self._keep_logprobs = keep_logprobs
        self._joining: list[_Row[RowId]] = []
        self._rows: list[_Row[RowId]] = []
        self._memory = KeyValueMemory(0, 0, self._forward.device)
        self._settings: SamplingSettings | None = None
        self._seen: Tensor | None = None

    def __len__(self) -> int:
        return len(self._rows) + len(self._joining)

    def add(
        self, row_id: RowId, prompt_ids: Sequence[int], parameters: DecodingParameters, seed: int
    ) -> None:
        """Let a row join at the next step.

        Raises PromptDoesNotFit for a prompt that is empty, fills the context, or has an unknown token id.
        """
        limit = parameters.max_new_tokens
        if self._forward.context_length is not None:
            limit = min(limit, self._forward.context_length - len(prompt_ids))
        self._check_prompt(prompt_ids, limit)
        uniforms = [] if parameters.is_greedy else _uniforms(seed, limit)
        self._joining.append(_Row(row_id, list(prompt_ids), parameters, uniforms, limit))

    @torch.inference_mode()
    def remove(self, row_id: RowId) -> None:
        """Let a row leave now; a row that is not here (any more) is no error."""
        self._joining = [row for row in self._joining if row.row_id != row_id]
        for index, row in enumerate(self._rows):
            if row.row_id == row_id:
                self._drop(index)
                return

    @torch.inference_mode()
    def step(self) -> list[StepToken[RowId]]:
        """Decode one token of every row, the joining ones included.

        An error of one row's prompt or logits ends that row only; an error of the whole forward pass is
        raised, and the batch is then of no further use.
        """
        logits = (
            [self._forward.step([row.tokens[-1] for row in self._rows], self._memory)] if self._rows else []
        )
        failures: list[StepToken[RowId]] = []
        joining, self._joining = self._joining, []
        if joining:
            logits += self._join(joining, failures)
        return failures + (self._choose(torch.cat(logits)) if logits else [])

    def _join(self, joining: list[_Row[RowId]], failures: list[StepToken[RowId]]) -> list[Tensor]:
        """Prefill rows as one batch; if that fails, one at a time, so that only the cause of it fails."""
        try:
            memory, logits = self._forward.prefill([row.prompt for row in joining])
        except Exception as error:
            if len(joining) == 1:
                failures.append(StepToken(joining[0].row_id, -1, 0.0, True, error))
                return []
            return [tensor for row in joining for tensor in self._join([row], failures)]
        if self._rows:
            self._memory.append(memory)
        else:
            self._memory = memory
        self._rows += joining
        self._forget_settings()
        return [logits]

    def _choose(self, logits: Tensor) -> list[StepToken[RowId]]:
        """Choose every row's token from logits (rows, vocabulary), and let the finished rows leave."""
        settings = self._current_settings()
        is_broken = (~logits.amax(-1).isfinite()).tolist()
        if any(is_broken):
            logits = torch.where(torch.tensor(is_broken, device=logits.device)[:, None], 0.0, logits)
        uniforms = [row.uniforms[len(row.tokens)] if row.uniforms else 0.0 for row in self._rows]
        chosen = choose_tokens(logits, settings, uniforms, self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        logprobs = (
            chosen_logprobs(logits, chosen).tolist() if self._keep_logprobs else [0.0] * len(self._rows)
        )
        steps = [
            self._extend(row, token, logprob) if not broken else _broken(row)
            for row, token, logprob, broken in zip(
                self._rows, chosen.tolist(), logprobs, is_broken, strict=True
            )
        ]
        for index in reversed(range(len(steps))):
            if steps[index].is_last:
                self._drop(index)
        return steps

    def _extend(self, row: _Row[RowId], token: int, logprob: float) -> StepToken[RowId]:
        row.tokens.append(token)
        is_last = token in self._stop_ids or len(row.tokens) >= row.limit
        return StepToken(row.row_id, token, logprob, is_last)

    def _drop(self, index: int) -> None:
        """Take a row out, as the memory does it: the last row moves into its place."""
        self._memory.drop(index)
        self._rows[index] = self._rows[-1]
        self._rows.pop()
        self._forget_settings()

    def _forget_settings(self) -> None:
        self._settings = None

    def _current_settings(self) -> SamplingSettings:
        """The rows' sampling settings as tensors, made anew when rows have come or gone."""
        if self._settings is None:
            device = self._forward.device
            self._settings = SamplingSettings.of_rows([row.parameters for row in self._rows], device)
            self._seen = self._tokens_seen() if self._settings.penalties is not None else None
        return self._settings

    def _tokens_seen(self) -> Tensor:
        """Which tokens each row holds, prompt included: (rows, vocabulary) bool."""
        seen = torch.zeros(len(self._rows), self._forward.vocab_size, dtype=torch.bool)
        for index, row in enumerate(self._rows):
            seen[index, row.prompt + row.tokens] = True
        return seen.to(self._forward.device)

    def _check_prompt(self, prompt_ids: Sequence[int], limit: int) -> None:
        if not prompt_ids:
            raise PromptDoesNotFit("The prompt is empty; decoding needs at least one token to start from.")
        if limit < 1:
            raise PromptDoesNotFit(
                f"The prompt has {len(prompt_ids)} tokens, and the model's context of "
                f"{self._forward.context_length} has no room for another. Shorten the prompt."
            )
        if not 0 <= min(prompt_ids) <= max(prompt_ids) < self._forward.vocab_size:
            raise PromptDoesNotFit(
                f"The prompt has token ids from {min(prompt_ids)} to {max(prompt_ids)}; the model knows 0 to "
                f"{self._forward.vocab_size - 1}. Use the tokenizer that belongs to the model."
            )


def _uniforms(seed: int, count: int) -> list[float]:
    """Draw the random numbers of a whole row from its seed, on the CPU so that every device gets the same."""
    generator = torch.Generator().manual_seed(seed)
    numbers: list[float] = torch.rand(count, generator=generator).tolist()
    return numbers


def _broken(row: _Row[RowId]) -> StepToken[RowId]:
    error = BrokenLogits(
        f"The model gave no usable probabilities after {len(row.prompt) + len(row.tokens)} tokens: NaN or "
        "infinity. "
        "Its weights are damaged or its numbers overflow: serve another version."
    )
    return StepToken(row.row_id, -1, 0.0, True, error)
