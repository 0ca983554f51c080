"""Arranges token sequences of different lengths into right-padded batches with little padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def right_padded(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Stack sequences as (rows, longest) long, padded on the right.

    A causal model never attends to what is on the right, so such a batch needs no attention mask, and its
    position ids are 0, 1, 2, …
    """
    longest = max(map(len, sequences))
    rows = [[*sequence, *([pad_token_id] * (longest - len(sequence)))] for sequence in sequences]
    return torch.tensor(rows, dtype=torch.long, device=device)


def grouped_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices in groups of similar length, none padding to more than `max_tokens` unless it is alone.

    Longest group first, so that memory is asked for once; within a group the indices ascend.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return [sorted(group) for group in groups]
