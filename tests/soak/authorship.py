"""Finds out which version can have written a stored answer, token by token, without the service.

At temperature 0 every token of an answer is the one its version holds for the most likely after the prompt and the
tokens before it. The stored tokens are given to a version as they are, so an early difference does not hide a later
one: a token from another version stands out where it stands. Numbers differ a little between a batch and a single
row, so a token counts as foreign only if it is clearly less likely than the most likely one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import torch

from chat_app.inference.detokenise import UNFINISHED
from tests.soak.record import StoredAnswer
from training.loading import LoadedModel

FOREIGN = 0.05  # logits: far above what a batch changes in float32, far below another version's word


@dataclass(frozen=True, slots=True)
class Misfit:
    """The token of an answer that a version is least likely to have written: where, and by how much of a logit."""

    place: int
    gap: float


@dataclass(frozen=True, slots=True)
class Authors:
    """Who has written the answers of a soak; `largest_gap` is that of all tokens under the version recorded.

    `mixed` are the answers that their version did not write, in words. `recognisable` counts those that the other
    version would not have written: without them the check would see nothing. `across_a_swap` counts those that were
    under way when a later one began on the other version.
    """

    by_version: Counter[int]
    mixed: list[str]
    largest_gap: float
    recognisable: int
    across_a_swap: int

    def __str__(self) -> str:
        versions = ", ".join(f"version {each}: {count}" for each, count in sorted(self.by_version.items()))
        return (
            f"  answers by         {versions}\n"
            f"  across a swap      {self.across_a_swap} answers\n"
            f"  recognisable       {self.recognisable} answers the other version would not have written\n"
            f"  largest gap        {self.largest_gap:.4f} logits under the version recorded\n"
            f"  mixed              {len(self.mixed)}"
        )


def find_authors(models: Mapping[int, LoadedModel], answers: Sequence[StoredAnswer]) -> Authors:
    """Hold every answer against the version it names, and against the other ones."""
    mixed, largest, recognisable = [], 0.0, 0
    for answer in answers:
        own = worst_misfit(models[answer.version_id], answer)
        largest = max(largest, own.gap)
        others = [worst_misfit(model, answer) for each, model in models.items() if each != answer.version_id]
        recognisable += all(other.gap > FOREIGN for other in others)
        if own.gap > FOREIGN or not _is_text_of_tokens(models[answer.version_id], answer):
            mixed.append(_mixed(answer, own))
    return Authors(
        by_version=Counter(answer.version_id for answer in answers),
        mixed=mixed,
        largest_gap=largest,
        recognisable=recognisable,
        across_a_swap=_count_across_a_swap(answers),
    )


def _mixed(answer: StoredAnswer, misfit: Misfit) -> str:
    return (
        f"completion {answer.completion_id} of version {answer.version_id}: token {misfit.place} of "
        f"{len(answer.token_ids)} is {misfit.gap:.2f} below the likeliest; text {answer.text!r}"
    )


def _is_text_of_tokens(loaded: LoadedModel, answer: StoredAnswer) -> bool:
    return loaded.chat_format.decode(list(answer.token_ids)).rstrip(UNFINISHED) == answer.text


def _count_across_a_swap(answers: Sequence[StoredAnswer]) -> int:
    begun: dict[int, list[datetime]] = {}
    for answer in answers:
        begun.setdefault(answer.version_id, []).append(_begin(answer))
    for moments in begun.values():
        moments.sort()
    return sum(
        any(
            bisect_right(moments, _begin(answer)) < bisect_right(moments, answer.stored_at)
            for version_id, moments in begun.items()
            if version_id != answer.version_id
        )
        for answer in answers
    )


def _begin(answer: StoredAnswer) -> datetime:
    return answer.stored_at - timedelta(seconds=answer.seconds)


def worst_misfit(loaded: LoadedModel, answer: StoredAnswer) -> Misfit:
    """Find the largest gap between the logit of a stored token and the largest logit at its place."""
    context = loaded.context_length
    room = max(context - answer.max_new_tokens, context // 2)
    prompt = loaded.chat_format.prompt_ids(list(answer.prompt), max_tokens=room)
    ids = torch.tensor([[*prompt, *answer.token_ids]])
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()  # (answer, vocabulary)
    gaps = logits.max(dim=-1).values - logits.gather(-1, ids[0, len(prompt) :, None])[:, 0]
    _accept_any_end(gaps, logits, answer, loaded)
    place = int(gaps.argmax())
    return Misfit(place, float(gaps[place]))


def _accept_any_end(
    gaps: torch.Tensor, logits: torch.Tensor, answer: StoredAnswer, loaded: LoadedModel
) -> None:
    """The engine records whichever control token ended the answer as the end token."""
    if answer.finish_reason == "end":
        control = torch.tensor(sorted(loaded.chat_format.special_ids))
        gaps[-1] = logits[-1].max() - logits[-1, control].max()
