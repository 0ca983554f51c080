"""Chooses the next token of every row from its logits: pure functions on tensors, each row by its settings.

The order is that of `transformers`: repetition penalty, temperature, top-k, top-p, then one draw. The draw
inverts the cumulative distribution at one uniform number per row, so it depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.generation.parameters import DecodingParameters

NUCLEUS_FIRST_LOOK = (
    256  # most nuclei end within this many tokens; only others pay for sorting the vocabulary
)


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """The sampling settings of a batch, one entry per row; None where no row uses the setting."""

    temperatures: Tensor | None  # (rows,); None when every row is greedy
    is_greedy: Tensor  # (rows,) bool
    top_ks: Tensor | None  # (rows,) long, 0 is off
    top_ps: Tensor | None  # (rows,), 1 is off
    penalties: Tensor | None  # (rows,), 1 is off

    @classmethod
    def of_rows(cls, rows: Sequence[DecodingParameters], device: torch.device) -> SamplingSettings:
        """Stack the parameters of a batch's rows."""
        greedy = [row.is_greedy for row in rows]
        return cls(
            temperatures=None
            if all(greedy)
            else _stack([1.0 if row.is_greedy else row.temperature for row in rows], device),
            is_greedy=torch.tensor(greedy, device=device),
            top_ks=_stack([row.top_k for row in rows], device) if any(row.top_k for row in rows) else None,
            top_ps=_stack([row.top_p for row in rows], device)
            if any(row.top_p < 1 for row in rows)
            else None,
            penalties=_stack([row.repetition_penalty for row in rows], device)
            if any(row.repetition_penalty != 1 for row in rows)
            else None,
        )


def choose_tokens(
    logits: Tensor, settings: SamplingSettings, uniforms: Sequence[float], seen: Tensor | None = None
) -> Tensor:
    """Choose one token per row.

    logits (rows, vocabulary), float32; uniforms one number in [0, 1) per row; seen (rows, vocabulary) bool,
    True for the row's tokens so far, needed where a repetition penalty is set. Returns ids (rows,).
    """
    if settings.penalties is not None and seen is not None:
        logits = penalise_repetition(logits, seen, settings.penalties)
    if settings.temperatures is None:
        return logits.argmax(-1)
    scaled = logits / settings.temperatures[:, None]
    if settings.top_ks is not None:
        scaled = keep_top_k(scaled, settings.top_ks)
    if settings.top_ps is not None:
        scaled = keep_top_p(scaled, settings.top_ps)
    drawn = draw(scaled, uniforms)
    return (
        torch.where(settings.is_greedy, logits.argmax(-1), drawn) if bool(settings.is_greedy.any()) else drawn
    )


def penalise_repetition(logits: Tensor, seen: Tensor, penalties: Tensor) -> Tensor:
    """Divide the positive logits of tokens seen by the row's penalty and multiply the negative ones by it.

    Keskar et al. 2019, CTRL, section 4.1.
    """
    scale = penalties[:, None]
    return torch.where(seen, torch.where(logits > 0, logits / scale, logits * scale), logits)


def keep_top_k(logits: Tensor, top_ks: Tensor) -> Tensor:
    """Set all but the row's `top_k` largest logits to minus infinity (ties stay); 0 keeps everything."""
    vocabulary = logits.shape[-1]
    widest = min(int(top_ks.max()), vocabulary)
    largest = logits.topk(widest, dim=-1).values  # (rows, widest), descending
    last_kept = largest.gather(-1, (top_ks.clamp(1, widest) - 1)[:, None])
    is_dropped = (logits < last_kept) & (top_ks > 0)[:, None]
    return logits.masked_fill(is_dropped, -torch.inf)


def keep_top_p(logits: Tensor, top_ps: Tensor) -> Tensor:
    """Keep the likeliest tokens until their mass reaches `top_p` (Holtzman et al. 2020); ties stay."""
    probabilities = logits.softmax(-1)
    look = min(NUCLEUS_FIRST_LOOK, logits.shape[-1])
    largest = _largest(probabilities, look)
    is_limited = top_ps < 1
    if look < logits.shape[-1] and bool(((largest.sum(-1) < top_ps) & is_limited).any()):
        largest = _largest(probabilities, logits.shape[-1])
    mass_before = largest.cumsum(-1) - largest
    kept_count = (mass_before < top_ps[:, None]).sum(-1).clamp(min=1)  # (rows,)
    last_kept = largest.gather(-1, (kept_count - 1)[:, None])
    return logits.masked_fill((probabilities < last_kept) & is_limited[:, None], -torch.inf)


def _largest(values: Tensor, count: int) -> Tensor:
    """The `count` largest values of each row, descending: (rows, count).

    On the CPU by NumPy, whose vectorised partition takes a tenth of the time of `topk`.
    """
    if values.device.type != "cpu":
        return values.topk(count, dim=-1).values
    rows = values.numpy()
    if count < rows.shape[-1]:
        rows = np.partition(rows, -count, axis=-1)[:, -count:]
    return torch.from_numpy(np.ascontiguousarray(np.sort(rows, axis=-1)[:, ::-1]))


def draw(logits: Tensor, uniforms: Sequence[float]) -> Tensor:
    """Draw a token per row from softmax(logits), at the point `uniforms` of its cumulative distribution.

    Summed in float64: in float32 the error of a long sum exceeds the probability of a rare token.
    """
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None]
    return torch.searchsorted(cumulative, points * cumulative[:, -1:], right=True).squeeze(-1)


def chosen_logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    """Give log softmax(logits) at one token per row: (rows, vocabulary), (rows,) → (rows,)."""
    return logits.gather(-1, tokens[:, None]).squeeze(-1) - logits.logsumexp(-1)


def _stack(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)
