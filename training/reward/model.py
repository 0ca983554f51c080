"""A trained reward model: an adapter and a head on the anchor's backbone, with the affine that sets its unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.batches import grouped_by_length, right_padded
from training.loading import LoadedModel
from training.numerics import Numerics
from training.roles import Roles

RECORD_FILE = "reward.json"
REWARD = "reward"


@dataclass(frozen=True, slots=True)
class RewardRecord:
    """What `reward.json` holds: the affine (mean and deviation of reference scores) and how training went."""

    mean: float
    deviation: float
    max_tokens: int
    metrics: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Store the record beside the adapter."""
        (folder / RECORD_FILE).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> RewardRecord:
        """Read the record that `write` stored."""
        return cls(**json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")))


class RewardModel:
    """Scores completions; standardised, so 0 is the reference policy's mean and 1 its standard deviation."""

    def __init__(
        self, roles: Roles, record: RewardRecord, *, role: str = REWARD, max_batch_tokens: int = 4096
    ) -> None:
        """Take a role that has been given its adapter and head."""
        self.roles, self.record, self.role, self.max_batch_tokens = roles, record, role, max_batch_tokens

    @classmethod
    def load(cls, folder: Path, anchor: LoadedModel, *, numerics: Numerics) -> RewardModel:
        """Put the reward model of `folder` on the anchor's backbone; raises AdapterMismatch for another's.

        The anchor's model carries the adapter until `release`.
        """
        roles = Roles(anchor, numerics)
        roles.load(REWARD, folder, has_head=True)
        return cls(roles, RewardRecord.read(folder))

    def scores(self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> Tensor:
        """Standardised scores (completions,), read at each completion's last token: its end of turn, if it has one.

        Token ids; prompt and completion together over `max_tokens` lose the head of the prompt.
        """
        sequences = [
            [*prompt, *completion][-self.record.max_tokens :]
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return (self.raw_scores(sequences) - self.record.mean) / self.record.deviation

    def raw_scores(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Scores before standardisation (sequences,), on the CPU."""
        return raw_scores(self.roles, self.role, sequences, max_batch_tokens=self.max_batch_tokens)

    def release(self) -> None:
        """Give the backbone back as it was."""
        self.roles.release()


@torch.no_grad()
def raw_scores(
    roles: Roles, role: str, sequences: Sequence[Sequence[int]], *, max_batch_tokens: int = 4096
) -> Tensor:
    """A role's number at the last token of each sequence: (sequences,), on the CPU, in their order."""
    scores = torch.empty(len(sequences))
    lengths = [len(sequence) for sequence in sequences]
    with roles.playing(role):
        for group in grouped_by_length(lengths, max_batch_tokens):
            input_ids = right_padded(
                [sequences[i] for i in group], roles.anchor.chat_format.pad_token_id, roles.device
            )
            last = torch.tensor([lengths[i] - 1 for i in group], device=roles.device)
            scores[group] = roles.scalars(role, input_ids, last_positions(last, input_ids.shape[1])).cpu()
    return scores


def last_positions(last: Tensor, width: int) -> Tensor:
    """A mask that keeps one position per row: indices (rows,) → bool (rows, width)."""
    return torch.arange(width, device=last.device) == last[:, None]
