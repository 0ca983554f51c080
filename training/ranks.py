"""This process's place among those that torchrun started for one run; alone without torchrun.

Each rank computes its share of every batch, the gradients are summed, and every rank takes the same step. The first
rank keeps the clock, writes the files and speaks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

Item = TypeVar("Item")
_LONGEST_WAIT = timedelta(days=1)  # the others wait while the first rank reads a corpus


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which rank this process is, of how many, and the device it computes on."""

    rank: int
    count: int
    device: str

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This rank's part of a batch; the parts of all ranks together are the batch."""
        return items[self.rank :: self.count]

    def sum_gradients(self, model: nn.Module) -> None:
        """Replace every gradient by its sum over the ranks; one that a rank lacks counts as zero."""
        if self.count == 1:
            return
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([_gradient(parameter).flatten() for parameter in learning])
        distributed.all_reduce(flat)
        pieces = torch.split(flat, [parameter.numel() for parameter in learning])
        for parameter, piece in zip(learning, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)

    def agree(self, value: float) -> float:
        """The first rank's value, on every rank."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, src=0)
        return float(shared)

    def wait(self) -> None:
        """Go on when every rank has come here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes that torchrun started (NCCL on GPUs, Gloo on CPUs); leave them at the end.

    A process joins once: torchrun's store keeps the addresses of a first meeting, and a second would find them.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    has_gpu = torch.cuda.is_available()
    if count == 1:
        yield Ranks(0, 1, "cuda" if has_gpu else "cpu")
        return
    device = f"cuda:{os.environ['LOCAL_RANK']}" if has_gpu else "cpu"
    if has_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if has_gpu else "gloo", timeout=_LONGEST_WAIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
