"""Rolls out episodes: the policy answers prompts, and every role says what it thinks of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.batches import grouped_by_length, right_padded
from training.generation import DecodingParameters, sample_completions
from training.ppo import equations
from training.roles import Roles

POLICY, VALUE = "policy", "value"
Scorer = Callable[
    [Sequence[Sequence[int]], Tensor], Tensor
]  # sequences, is_ended (episodes,) → scores (episodes,)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Completions of a list of prompts as token ids, with which of them the policy ended itself.

    completion_mask (episodes, time) bool keeps each completion's tokens, from column 0 on; sampled_logprobs, of
    that shape, are the decoder's own.
    """

    sequences: tuple[tuple[int, ...], ...]
    prompt_lengths: tuple[int, ...]
    completion_mask: Tensor
    is_ended: Tensor
    sampled_logprobs: Tensor

    def chosen(self, rows: Sequence[int]) -> Rows:
        """Some of the episodes as a batch for the model."""
        return Rows([self.sequences[i] for i in rows], [self.prompt_lengths[i] for i in rows])

    @property
    def lengths(self) -> list[int]:
        """Tokens of each episode, prompt included."""
        return [len(sequence) for sequence in self.sequences]

    def completion(self, row: int) -> tuple[int, ...]:
        """One episode's completion."""
        return self.sequences[row][self.prompt_lengths[row] :]


@dataclass(frozen=True, slots=True)
class Rows:
    """Sequences with the lengths of their prompts, as the model takes them."""

    sequences: Sequence[Sequence[int]]
    prompt_lengths: Sequence[int]

    def tensors(self, roles: Roles) -> tuple[Tensor, Tensor, Tensor]:
        """Ids (rows, time), the positions *before* each completion token (rows, time) bool, the tokens (kept,)."""
        input_ids = right_padded(self.sequences, roles.anchor.chat_format.pad_token_id, roles.device)
        columns = torch.arange(input_ids.shape[1], device=roles.device)
        first = torch.tensor(self.prompt_lengths, device=roles.device)[:, None]
        stop = torch.tensor([len(sequence) for sequence in self.sequences], device=roles.device)[:, None]
        before = (columns >= first - 1) & (columns < stop - 1)
        tokens = input_ids[(columns >= first) & (columns < stop)]
        return input_ids, before, tokens


@dataclass(frozen=True, slots=True)
class Rollouts:
    """Episodes with all that an update needs; every tensor but the scores is (episodes, time), on the CPU."""

    episodes: Episodes
    scores: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    entropies: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


def sample_episodes(
    roles: Roles, prompts: Sequence[Sequence[int]], seeds: Sequence[int], max_new_tokens: int
) -> Episodes:
    """Let the policy answer every prompt, from its own distribution: temperature 1, nothing filtered."""
    chat_format = roles.anchor.chat_format
    with roles.merged(POLICY) as policy:
        sampled = sample_completions(
            policy,
            prompts,
            parameters=DecodingParameters(max_new_tokens=max_new_tokens),
            seeds=seeds,
            end_token_id=chat_format.end_token_id,
            pad_token_id=chat_format.pad_token_id,
            keep_logprobs=True,
        )
    lengths = torch.tensor([len(one.token_ids) for one in sampled])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    logprobs = torch.zeros(mask.shape)
    logprobs[mask] = torch.tensor([value for one in sampled for value in one.logprobs or ()])
    return Episodes(
        sequences=tuple((*prompt, *one.token_ids) for prompt, one in zip(prompts, sampled, strict=True)),
        prompt_lengths=tuple(map(len, prompts)),
        completion_mask=mask,
        is_ended=torch.tensor([one.is_ended for one in sampled]),
        sampled_logprobs=logprobs,
    )


@torch.no_grad()
def evaluate_episodes(
    roles: Roles,
    episodes: Episodes,
    *,
    scorer: Scorer,
    values_of: Callable[[Tensor], Tensor],
    beta: float,
    gae_lambda: float,
    microbatch_tokens: int,
) -> Rollouts:
    """Ask policy, reference, value and reward about the episodes, and work out advantages and returns.

    The old log-probabilities are computed here, with the numerics of the update, and not taken from the decoder.
    `values_of` turns the value head's raw numbers into the unit of the scores.
    """
    mask = episodes.completion_mask
    logprobs, ref_logprobs, entropies, values = (torch.zeros(mask.shape) for _ in range(4))
    for group in grouped_by_length(episodes.lengths, microbatch_tokens):
        batch = episodes.chosen(group).tensors(roles)
        with roles.playing(POLICY):
            chosen, entropy = token_logprobs(roles, *batch)
        with roles.playing(None):
            ref_chosen, _ = token_logprobs(roles, *batch)
        with roles.playing(VALUE):
            value = values_of(roles.scalars(VALUE, *batch[:2]))
        for whole, part in (
            (logprobs, chosen),
            (entropies, entropy),
            (ref_logprobs, ref_chosen),
            (values, value),
        ):
            whole[group] = torch.zeros(len(group), mask.shape[1]).masked_scatter(mask[group], part.cpu())
    scores = scorer(episodes.sequences, episodes.is_ended)
    rewards = equations.kl_rewards(logprobs, ref_logprobs, scores, mask, beta)
    advantages, returns = equations.advantages_and_returns(rewards, values, mask, gae_lambda)
    whitened = equations.whiten(advantages, mask)
    return Rollouts(episodes, scores, logprobs, ref_logprobs, entropies, values, whitened, returns)


def token_logprobs(roles: Roles, input_ids: Tensor, before: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each token under the role that plays, and the entropy it was drawn at: both (kept,)."""
    logits = roles.logits(input_ids, before)
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1) - logits.logsumexp(-1)
    with torch.no_grad():
        entropies = equations.entropies(logits)
    return chosen, entropies
