"""Answers of a role to held-out prompts, and what can be measured on them without any judge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from training.batches import grouped_by_length
from training.generation import DecodingParameters, sample_completions
from training.ppo import equations
from training.ppo.ordinary import OrdinaryText
from training.ppo.rollout import Rows, token_logprobs
from training.reward.data import fitted_prompt
from training.roles import Roles


@dataclass(frozen=True, slots=True)
class Answers:
    """Completions of the same prompts, as token ids."""

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[int, ...], ...]

    @property
    def mean_length(self) -> float:
        """Tokens per answer, the end of turn included."""
        return sum(map(len, self.completions)) / len(self.completions)


def answer(
    roles: Roles,
    role: str | None,
    prompts: Sequence[Sequence[Mapping[str, str]]],
    parameters: DecodingParameters,
    seeds: Sequence[int],
) -> Answers:
    """Let a role (None is the reference) answer prompts given as messages."""
    chat_format = roles.anchor.chat_format
    room = roles.anchor.context_length - parameters.max_new_tokens
    encoded = [fitted_prompt(prompt, chat_format, room)[0] for prompt in prompts]
    with roles.merged(role) as model:
        sampled = sample_completions(
            model,
            encoded,
            parameters=parameters,
            seeds=seeds,
            end_token_id=chat_format.end_token_id,
            pad_token_id=chat_format.pad_token_id,
        )
    return Answers(tuple(map(tuple, encoded)), tuple(one.token_ids for one in sampled))


@torch.no_grad()
def kl_per_answer(roles: Roles, role: str, answers: Answers, *, max_batch_tokens: int) -> float:
    """Mean over answers, sampled from `role` at temperature 1, of log π − log π_ref, in nats per answer."""
    sequences = [(*p, *c) for p, c in zip(answers.prompts, answers.completions, strict=True)]
    total = 0.0
    for group in grouped_by_length([len(sequence) for sequence in sequences], max_batch_tokens):
        batch = Rows([sequences[i] for i in group], [len(answers.prompts[i]) for i in group]).tensors(roles)
        with roles.playing(role):
            logprobs, _ = token_logprobs(roles, *batch)
        with roles.playing(None):
            ref_logprobs, _ = token_logprobs(roles, *batch)
        total += float(equations.kl_k1(logprobs, ref_logprobs).sum())
    return total / len(sequences)


@torch.no_grad()
def ordinary_loss(roles: Roles, role: str | None, text: OrdinaryText, rows: int) -> float:
    """Next-token loss of a role on fixed windows of ordinary text, in nats per token."""
    losses = []
    with roles.playing(role):
        for part in torch.split(text.rows(rows), 16):
            input_ids = part.to(roles.device)
            kept = torch.ones_like(input_ids, dtype=torch.bool)
            kept[:, -1] = False
            loss = functional.cross_entropy(
                roles.logits(input_ids, kept), input_ids[:, 1:].flatten(), reduction="sum"
            )
            losses.append(float(loss))
    return sum(losses) / (rows * text.window)


def distinct_2(answers: Answers, bigram_limit: int | None = None) -> float:
    """Share of different token pairs among the first `bigram_limit` of all answers (Li et al. 2016).

    More text repeats more by nature, so compare two sets of answers at the same number of bigrams.
    """
    bigrams = _bigrams(answers)[:bigram_limit]
    return len(set(bigrams)) / len(bigrams) if bigrams else math.nan


def bigram_count(answers: Answers) -> int:
    """How many token pairs the answers have in all."""
    return len(_bigrams(answers))


def _bigrams(answers: Answers) -> list[tuple[int, int]]:
    return [pair for one in answers.completions for pair in itertools.pairwise(one)]
