"""How one completion is decoded: its length limit and the shape of its sampling distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.generation.errors import InvalidDecoding

COLDEST = 1e-3
MOST_BEAMS = 8  # each takes a row of the batch


@dataclass(frozen=True, slots=True)
class DecodingParameters:
    """The sampling settings of one completion, checked when made.

    `temperature` 0 is greedy (below a thousandth too: dividing by it would overflow); `top_k` 0, `top_p` 1
    and `repetition_penalty` 1 (Keskar et al. 2019) are off. `stop_sequences` are token ids that end the completion
    when they come, and stay in it. `beams` above 1 search for the likeliest completion instead of sampling one; it
    needs temperature 0, and comes whole at the end.
    Raises InvalidDecoding, naming the setting, its value and the range.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop_sequences: tuple[tuple[int, ...], ...] = ()
    beams: int = 1

    def __post_init__(self) -> None:
        _require(self.max_new_tokens >= 1, "max_new_tokens", self.max_new_tokens, "1 or more")
        _require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            "temperature",
            self.temperature,
            "0 (greedy) or more",
        )
        _require(0 < self.top_p <= 1, "top_p", self.top_p, "above 0 and at most 1 (1 is off)")
        _require(self.top_k >= 0, "top_k", self.top_k, "0 (off) or more")
        _require(
            math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0,
            "repetition_penalty",
            self.repetition_penalty,
            "above 0 (1 is off)",
        )
        _require(1 <= self.beams <= MOST_BEAMS, "beams", self.beams, f"from 1 to {MOST_BEAMS}")
        if self.beams > 1 and not (
            self.is_greedy and self.repetition_penalty == 1 and not self.stop_sequences
        ):
            raise InvalidDecoding(
                f"beams is {self.beams}, and beam search goes with temperature 0, no repetition penalty and no stop "
                "sequences only. Leave these out, or set beams to 1."
            )
        if not all(self.stop_sequences):
            raise InvalidDecoding("A stop sequence is empty; it must hold one token or more.")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken each time."""
        return self.temperature < COLDEST


def _require(is_met: bool, name: str, value: float, wanted: str) -> None:
    if not is_met:
        raise InvalidDecoding(f"{name} is {value}; it must be {wanted}.")
