"""Derives independent seeds from one: the same key gives the same numbers on every machine and after every restart."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *key: object) -> int:
    """A seed in [0, 2⁶³) for the purpose that `key` names, such as ("rollout", update, episode)."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *key: object) -> torch.Generator:
    """A CPU generator of its own for the purpose that `key` names."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))
