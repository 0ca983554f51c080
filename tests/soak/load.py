"""How heavy a soak is: people, seconds, seconds between swaps; from the environment, with the issue's figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

STEADY_SECONDS = 300  # a shorter run's memory is that of a service still warming up, and is not judged


@dataclass(frozen=True, slots=True)
class Load:
    """What a soak puts on the service, and the time within which a first word has to come."""

    people: int = 50
    seconds: float = 600
    swap_seconds: float = 10
    first_word_seconds: float = 2

    @property
    def is_judging_memory(self) -> bool:
        """Whether the run is long enough for its last third to be compared with the one before."""
        return self.seconds >= STEADY_SECONDS


def load_from(environment: Mapping[str, str] = os.environ) -> Load:
    """Read SOAK_PEOPLE, SOAK_SECONDS, SOAK_SWAP_SECONDS and SOAK_FIRST_WORD_SECONDS."""
    usual = Load()
    return Load(
        people=int(environment.get("SOAK_PEOPLE", usual.people)),
        seconds=float(environment.get("SOAK_SECONDS", usual.seconds)),
        swap_seconds=float(environment.get("SOAK_SWAP_SECONDS", usual.swap_seconds)),
        first_word_seconds=float(environment.get("SOAK_FIRST_WORD_SECONDS", usual.first_word_seconds)),
    )
