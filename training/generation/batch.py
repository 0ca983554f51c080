"""Continuous batching: the rows of one model's batch join and leave between tokens."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from training.generation.beams import Beams
from training.generation.errors import BrokenLogits, PromptDoesNotFit
from training.generation.forward import Reading, forward_of
from training.generation.parameters import DecodingParameters
from training.generation.sampling import SamplingSettings, choose_tokens, chosen_logprobs

RowId = TypeVar("RowId", bound=Hashable)

READ_PER_STEP = 256  # tokens of joining prompts that are read between two tokens of the rows that decode


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
    has_left: bool = False
    is_broken: bool = False
    beams: Beams | None = None  # the search of which it is one beam

    @property
    def columns(self) -> int:
        """How many tokens of memory it may come to need."""
        return len(self.prompt) + self.limit

    @property
    def is_stopped(self) -> bool:
        """Whether its tokens end with one of its stop sequences."""
        return any(
            tuple(self.tokens[-len(sequence) :]) == sequence for sequence in self.parameters.stop_sequences
        )


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
        memory_bytes: int | None = None,
        prefix_bytes: int = 0,
        read_per_step: int = READ_PER_STEP,
    ) -> None:
        """Take a causal model in evaluation mode; `other_stop_ids` end a row as `end_token_id` does.

        Keys and values of all rows stay within `memory_bytes` (None: no limit; prompts being read have theirs
        beside it), and rows wait until they fit;
        `prefix_bytes` more are kept of finished rows for prompts that begin as they did. Prompts are read at
        about `read_per_step` tokens per step, so that a long one does not hold the others up.
        """
        self._forward = forward_of(model, pad_token_id=pad_token_id, prefix_bytes=prefix_bytes)
        self._stop_ids = frozenset([end_token_id, *other_stop_ids])
        self._keep_logprobs = keep_logprobs
        self._memory_bytes = memory_bytes
        self._read_per_step = read_per_step
        self._joining: list[_Row[RowId]] = []
        self._being_read: list[_Row[RowId]] = []
        self._reading: Reading | None = None
        self._rows: list[_Row[RowId]] = []
        self._settings: SamplingSettings | None = None
        self._seen: Tensor | None = None

    def __len__(self) -> int:
        read = sum(not row.has_left for row in self._being_read)
        return len(self._rows) + read + len(self._joining)

    def add(
        self, row_id: RowId, prompt_ids: Sequence[int], parameters: DecodingParameters, seed: int
    ) -> None:
        """Let a row join at the next step.

        Raises PromptDoesNotFit for a prompt that is empty, fills the context or the memory, or has an unknown
        token id.
        """
        limit = parameters.max_new_tokens
        if self._forward.context_length is not None:
            limit = min(limit, self._forward.context_length - len(prompt_ids))
        self._check_prompt(prompt_ids, limit)
        uniforms = [] if parameters.is_greedy else _uniforms(seed, limit)
        width = parameters.beams
        beams = Beams(width, limit=limit, stop_ids=self._stop_ids) if width > 1 else None
        rows = [
            _Row(row_id, list(prompt_ids), parameters, uniforms, limit, beams=beams) for _ in range(width)
        ]
        self._check_memory(rows)
        self._joining += rows

    @torch.inference_mode()
    def remove(self, row_id: RowId) -> None:
        """Let a row leave now; a row that is not here (any more) is no error."""
        self._joining = [row for row in self._joining if row.row_id != row_id]
        for row in self._being_read:
            row.has_left = row.has_left or row.row_id == row_id
        for index in reversed(range(len(self._rows))):
            if self._rows[index].row_id == row_id:
                self._drop(index)

    @torch.inference_mode()
    def step(self) -> list[StepToken[RowId]]:
        """Decode one token of every row whose prompt is read, and read on in the prompts of the others.

        An error of one row's prompt or logits ends that row only; an error of the whole forward pass is
        raised, and the batch is then of no further use.
        """
        logits = [self._forward.step([row.tokens[-1] for row in self._rows])] if self._rows else []
        failures: list[StepToken[RowId]] = []
        logits += self._read_on(failures)
        return failures + (self._choose(torch.cat(logits)) if logits else [])

    def _read_on(self, failures: list[StepToken[RowId]]) -> list[Tensor]:
        """Read a portion of the prompts; if that fails, one at a time, so that only the cause of it fails."""
        if not self._being_read:
            self._being_read = self._next_to_read()
        if all(row.has_left for row in self._being_read):
            self._being_read, self._reading = [], None
        if not self._being_read:
            return []
        try:
            reading = self._reading or self._forward.read([row.prompt for row in self._being_read])
            self._reading = reading
            logits = reading.advance(self._read_per_step)
        except Exception:
            return self._read_alone(failures)
        if logits is None:
            return []
        return [self._admit(reading, logits)]

    def _read_alone(self, failures: list[StepToken[RowId]]) -> list[Tensor]:
        """Read each of the prompts whole and by itself."""
        rows, found = self._being_read, []
        for row in rows:
            self._being_read = [row]
            try:
                reading = self._forward.read([row.prompt])
                while (logits := reading.advance(self._read_per_step)) is None:
                    pass
                found.append(self._admit(reading, logits))
            except Exception as error:
                if row.row_id not in (failure.row_id for failure in failures):
                    failures.append(StepToken(row.row_id, -1, 0.0, True, error))
                self._being_read, self._reading = [], None
        return found

    def _admit(self, reading: Reading, logits: Tensor) -> Tensor:
        """Let the rows whose prompts are read decode from now on."""
        self._forward.admit(reading)
        self._rows += self._being_read
        self._being_read, self._reading = [], None
        self._forget_settings()
        return logits

    def _next_to_read(self) -> list[_Row[RowId]]:
        """Take the joining rows, first come, first served, for which there is memory."""
        rows, columns = len(self._rows), max((row.columns for row in self._rows), default=0)
        count = 0
        while count < len(self._joining):
            first = self._joining[count]
            columns = max(columns, first.columns)
            width = first.parameters.beams
            if not self._has_memory(rows + count + width, columns):
                break
            count += width
        taken, self._joining = self._joining[:count], self._joining[count:]
        return taken

    def _choose(self, logits: Tensor) -> list[StepToken[RowId]]:
        """Choose every row's token from logits (rows, vocabulary), and let the finished rows leave."""
        is_broken = (~logits.amax(-1).isfinite()).tolist()
        if any(is_broken):
            for row, broken in zip(self._rows, is_broken, strict=True):
                row.is_broken = broken
            logits = torch.where(torch.tensor(is_broken, device=logits.device)[:, None], 0.0, logits)
        steps, leaving = self._sample(logits, is_broken)
        for beams, indices in self._searches().items():
            found = self._search(beams, indices, logits, is_broken)
            steps += found
            leaving += indices if found else []
        for index in sorted(leaving, reverse=True):
            self._drop(index)
        return steps

    def _sample(self, logits: Tensor, is_broken: Sequence[bool]) -> tuple[list[StepToken[RowId]], list[int]]:
        """Draw a token of every row that is no beam; the indices of the rows that leave with it, too."""
        settings = self._current_settings()
        uniforms = [row.uniforms[len(row.tokens)] if row.uniforms else 0.0 for row in self._rows]
        chosen = choose_tokens(logits, settings, uniforms, self._seen)
        if self._seen is not None:
            self._seen.scatter_(1, chosen[:, None], True)
        logprobs = (
            chosen_logprobs(logits, chosen).tolist() if self._keep_logprobs else [0.0] * len(self._rows)
        )
        steps, leaving = [], []
        for index, (row, token) in enumerate(zip(self._rows, chosen.tolist(), strict=True)):
            if row.beams is not None and not row.has_left:
                continue
            step = _broken(row) if is_broken[index] else self._extend(row, token, logprobs[index])
            if not row.has_left:
                steps.append(step)
            if step.is_last or row.has_left:
                leaving.append(index)
        return steps, leaving

    def _searches(self) -> dict[Beams, list[int]]:
        """The searches under way, each with its rows."""
        found: dict[Beams, list[int]] = {}
        for index, row in enumerate(self._rows):
            if row.beams is not None and not row.has_left:
                found.setdefault(row.beams, []).append(index)
        return found

    def _search(
        self, beams: Beams, indices: list[int], logits: Tensor, is_broken: Sequence[bool]
    ) -> list[StepToken[RowId]]:
        """Take a search one token further; the whole completion at its end, nothing before."""
        rows = [self._rows[index] for index in indices]
        if any(is_broken[index] for index in indices):
            return [_broken(rows[0])]
        parents = beams.advance(logits[indices].log_softmax(-1))
        if beams.best is None:
            self._forward.rearrange(indices, [indices[parent] for parent in parents])
            for row, beginning in zip(rows, beams.beginnings, strict=True):
                row.tokens = list(beginning.tokens)
            return []
        tokens, logprobs = beams.best.tokens, beams.best.logprobs
        return [
            StepToken(rows[0].row_id, token, logprob, place == len(tokens))
            for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True), start=1)
        ]

    def _extend(self, row: _Row[RowId], token: int, logprob: float) -> StepToken[RowId]:
        row.tokens.append(token)
        is_last = token in self._stop_ids or len(row.tokens) >= row.limit or row.is_stopped
        return StepToken(row.row_id, token, logprob, is_last)

    def _drop(self, index: int) -> None:
        """Take a row out, as the memory does it: the last row moves into its place."""
        row = self._rows[index]
        read = [] if row.is_broken else row.prompt + row.tokens[:-1]  # the last token has not been read
        self._forward.drop(index, read)
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

    def _has_memory(self, rows: int, columns: int) -> bool:
        return self._memory_bytes is None or self._forward.bytes_for(rows, columns) <= self._memory_bytes

    def _check_memory(self, rows: Sequence[_Row[RowId]]) -> None:
        row, count = rows[0], len(rows)
        if not self._has_memory(count, row.columns):
            raise PromptDoesNotFit(
                f"The prompt's {len(row.prompt)} tokens and up to {row.limit} new ones{_in_beams(count)} need "
                f"{self._forward.bytes_for(count, row.columns):,} bytes of keys and values, and there are "
                f"{self._memory_bytes:,}. Ask for fewer new tokens, or raise inference.memory_bytes."
            )

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


def _in_beams(count: int) -> str:
    return f" in {count} beams" if count > 1 else ""


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
