"""Makes batches of rankings: each completion of a prompt once, with every pair that people ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from feedback.dataset import SnapshotRecord
from feedback.preference import Message, ordered_pairs, tied_pairs
from training.batches import right_padded
from training.chat_format import ChatFormat, PromptTooLong
from training.reward.loss import RankedPairs


@dataclass(frozen=True, slots=True)
class RankedPrompt:
    """A prompt, its completions, and the rankings of them.

    sequences: prompt and completion as token ids, one per different completion. Each ranking names the sequences it
    ranks (`positions`) and gives each its rank, 1 the best. `is_cut` says that old turns were left out to make room.
    """

    prompt_hash: str
    sequences: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...], ...]
    ranks: tuple[tuple[int, ...], ...]
    is_cut: bool

    def as_row(self) -> dict[str, Any]:
        """The form that a `datasets.Dataset` holds."""
        return {"sequences": self.sequences, "positions": self.positions, "ranks": self.ranks}


def ranked_prompts(
    records: Sequence[SnapshotRecord], chat_format: ChatFormat, max_tokens: int
) -> list[RankedPrompt]:
    """Gather the rankings of each prompt, in the order in which the prompts first appear.

    Too long for `max_tokens`: the prompt's oldest turns are cut, then the head of its oldest kept turn;
    no record is dropped.
    """
    by_prompt: dict[str, list[SnapshotRecord]] = {}
    for record in records:
        by_prompt.setdefault(record.prompt_hash, []).append(record)
    return [_ranked_prompt(group, chat_format, max_tokens) for group in by_prompt.values()]


def _ranked_prompt(
    records: Sequence[SnapshotRecord], chat_format: ChatFormat, max_tokens: int
) -> RankedPrompt:
    index_of: dict[tuple[int, ...], int] = {}
    positions = []
    for record in records:
        completions = [
            completion_ids(record, i, chat_format)[: max_tokens - 1] for i in range(len(record.ranks))
        ]
        positions.append(tuple(index_of.setdefault(ids, len(index_of)) for ids in completions))
    room = max_tokens - max(map(len, index_of))
    prompt, is_cut = fitted_prompt(records[0].prompt, chat_format, room)
    return RankedPrompt(
        prompt_hash=records[0].prompt_hash,
        sequences=tuple((*prompt, *ids) for ids in index_of),
        positions=tuple(positions),
        ranks=tuple(tuple(record.ranks) for record in records),
        is_cut=is_cut,
    )


def completion_ids(record: SnapshotRecord, position: int, chat_format: ChatFormat) -> tuple[int, ...]:
    """The tokens that were sampled, or the text's own where they come from another tokenizer or from an import."""
    ids, text = record.token_ids[position], record.completions[position]
    if ids and max(ids) < chat_format.vocab_size and chat_format.decode(ids).strip() == text.strip():
        return tuple(ids)
    is_ended = record.finish_reasons[position] in ("end", "imported")
    encoded = chat_format.completion_ids(text)
    return tuple(encoded if is_ended else encoded[:-1])


def fitted_prompt(
    messages: Sequence[Message | Mapping[str, str]], chat_format: ChatFormat, room: int
) -> tuple[list[int], bool]:
    """Encode a prompt into `room` tokens: oldest turns go first, then the head of what is left. Says whether it cut."""
    plain = [message.as_dict() if isinstance(message, Message) else message for message in messages]
    whole = chat_format.prompt_ids(plain)
    if len(whole) <= room:
        return whole, False
    try:
        return chat_format.prompt_ids(plain, max_tokens=room), True
    except PromptTooLong:
        return whole[-room:], True


def ranked_pairs(
    rankings: Sequence[Sequence[int]], positions: Sequence[Sequence[int]] | None = None
) -> RankedPairs:
    """All pairs of some rankings, as indices into a batch's scores.

    `positions` gives the index of each ranked completion; without it the rankings' completions follow one another.
    """
    if positions is None:
        starts = [sum(map(len, rankings[:i])) for i in range(len(rankings))]
        positions = [range(start, start + len(ranks)) for start, ranks in zip(starts, rankings, strict=True)]
    wins: list[tuple[int, int, float]] = []
    ties: list[tuple[int, int, float]] = []
    for ranks, places in zip(rankings, positions, strict=True):
        weight = 2 / (len(ranks) * (len(ranks) - 1))  # 1/C(K, 2)
        wins += [(places[pair.chosen], places[pair.rejected], weight) for pair in ordered_pairs(ranks)]
        ties += [(places[left], places[right], weight) for left, right in tied_pairs(ranks)]
    return RankedPairs(
        winners=torch.tensor([win[0] for win in wins], dtype=torch.long),
        losers=torch.tensor([win[1] for win in wins], dtype=torch.long),
        win_weights=torch.tensor([win[2] for win in wins], dtype=torch.float),
        tied_left=torch.tensor([tie[0] for tie in ties], dtype=torch.long),
        tied_right=torch.tensor([tie[1] for tie in ties], dtype=torch.long),
        tie_weights=torch.tensor([tie[2] for tie in ties], dtype=torch.float),
        ranking_count=len(rankings),
    )


def pairs_of_prompts(prompts: Sequence[Mapping[str, Any]]) -> RankedPairs:
    """All pairs of a batch of rows (`RankedPrompt.as_row`), as indices into their sequences in order."""
    rankings, positions, start = [], [], 0
    for row in prompts:
        rankings += list(row["ranks"])
        positions += [[start + place for place in places] for places in row["positions"]]
        start += len(row["sequences"])
    return ranked_pairs(rankings, positions)


@dataclass(frozen=True, slots=True)
class RankingCollator:
    """Stacks rows of rankings for the trainer: every sequence of a prompt stays in the prompt's batch."""

    pad_token_id: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Give `input_ids` (sequences, time) right-padded, `lengths` (sequences,) and `pairs` (RankedPairs)."""
        sequences = [sequence for row in rows for sequence in row["sequences"]]
        return {
            "input_ids": right_padded(sequences, self.pad_token_id),
            "lengths": torch.tensor([len(sequence) for sequence in sequences]),
            "pairs": pairs_of_prompts(rows),
        }
