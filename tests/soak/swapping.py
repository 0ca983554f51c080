"""A second version beside the bundled one, and promotions of the two in turns while people chat."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from training.bundled import BUNDLED_MODEL_DIR
from training.loading import load_language_model
from training.registry import Registry

DIFFERENCE = 0.2  # of each weight matrix's own spread: it still speaks and ends its turns, in other words


def add_other_version(registry: Registry, folder: Path) -> int:
    """Register a version that answers otherwise than the bundled one: its weights, shaken."""
    loaded = load_language_model(str(BUNDLED_MODEL_DIR))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in loaded.model.parameters():
            if weights.dim() > 1:
                noise = torch.randn(weights.shape, generator=generator).to(weights.dtype)
                weights += DIFFERENCE * weights.std() * noise
    loaded.model.save_pretrained(folder)
    loaded.chat_format.tokenizer.save_pretrained(folder)
    serving = registry.serving().id
    return registry.add_version(
        kind="policy",
        name_hint="shaken",
        folder=folder,
        metrics={},
        start_id=serving,
        anchor_id=None,
        reward_id=None,
        job_id=None,
    )


@dataclass(slots=True)
class Promotions:
    """When which version was promoted, and the promotions that failed."""

    at: list[tuple[datetime, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def promoting_in_turns(
    registry: Registry, versions: tuple[int, int], *, every_seconds: float
) -> Iterator[Promotions]:
    """Promote one version after the other until the block ends, as another process would."""
    promotions, is_over = Promotions(), threading.Event()

    def promote_on() -> None:
        turn, due = 0, time.monotonic() + every_seconds
        while not is_over.wait(max(0.0, due - time.monotonic())):
            turn, due = turn + 1, due + every_seconds
            version_id = versions[turn % 2]
            try:
                registry.promote(version_id, by_user_id=None, reason="soak", verdict={})
                promotions.at.append((datetime.now(UTC), version_id))
            except Exception as error:  # whatever it is, the soak goes on and tells
                promotions.failures.append(f"version {version_id}: {type(error).__name__}: {error}")

    thread = threading.Thread(target=promote_on, name="promotions")
    thread.start()
    try:
        yield promotions
    finally:
        is_over.set()
        thread.join()
