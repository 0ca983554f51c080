"""Rollouts: what is sampled, what the roles say of it, and that numerics agree."""

import pytest
import torch

from tests.training.material import FLOAT32
from training.loading import LoadedModel
from training.ppo.rollout import POLICY, VALUE, Rollouts, evaluate_episodes, sample_episodes
from training.roles import Roles
from training.settings import LoraSettings

PROMPTS = [[0, 20, 21, 22], [0, 30], [0, 40, 41]]
LORA = LoraSettings(rank=4, alpha=8)


@pytest.fixture
def roles(anchor: LoadedModel) -> Roles:
    roles = Roles(anchor, FLOAT32)
    roles.add(POLICY, LORA, seed=1)
    roles.add(VALUE, LORA, seed=2, has_head=True)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in roles.parameters(POLICY) + roles.parameters(VALUE):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return roles


def roll_out(roles: Roles, microbatch_tokens: int = 1000, beta: float = 0.1) -> Rollouts:
    episodes = sample_episodes(roles, PROMPTS, seeds=[1, 2, 3], max_new_tokens=12)
    return evaluate_episodes(
        roles,
        episodes,
        scorer=lambda sequences, is_ended: torch.tensor([float(len(sequence)) for sequence in sequences]),
        values_of=lambda raw: raw * 2 + 1,
        beta=beta,
        gae_lambda=0.95,
        microbatch_tokens=microbatch_tokens,
    )


def test_sampler_and_trainer_agree_on_log_probabilities(roles: Roles) -> None:
    rollouts = roll_out(roles)
    mask = rollouts.episodes.completion_mask
    torch.testing.assert_close(
        rollouts.logprobs[mask], rollouts.episodes.sampled_logprobs[mask], atol=1e-4, rtol=0
    )


def test_log_probabilities_are_those_of_a_plain_forward_pass(roles: Roles) -> None:
    rollouts = roll_out(roles)
    for row, prompt in enumerate(PROMPTS):
        sequence = torch.tensor([rollouts.episodes.sequences[row]])
        with torch.no_grad(), roles.merged(POLICY) as model:
            policy = model(sequence, attention_mask=torch.ones_like(sequence)).logits[0].log_softmax(-1)
        with torch.no_grad(), roles.merged(None) as model:
            reference = model(sequence, attention_mask=torch.ones_like(sequence)).logits[0].log_softmax(-1)
        length = sequence.shape[1] - len(prompt)
        places = range(len(prompt) - 1, sequence.shape[1] - 1)
        tokens = sequence[0, len(prompt) :]
        for got, expected in ((rollouts.logprobs, policy), (rollouts.ref_logprobs, reference)):
            chosen = torch.stack([expected[t, token] for t, token in zip(places, tokens, strict=True)])
            torch.testing.assert_close(got[row, :length], chosen, atol=1e-4, rtol=0)
            assert float(got[row, length:].abs().sum()) == 0


def test_another_split_into_microbatches_says_the_same(roles: Roles) -> None:
    whole, split = roll_out(roles), roll_out(roles, microbatch_tokens=1)
    for name in ("logprobs", "ref_logprobs", "values", "advantages", "returns", "entropies"):
        torch.testing.assert_close(getattr(whole, name), getattr(split, name), atol=1e-5, rtol=1e-4)


def test_values_have_the_unit_of_the_scores(roles: Roles) -> None:
    rollouts = roll_out(roles)
    sequence = torch.tensor([rollouts.episodes.sequences[0]])
    before = torch.zeros_like(sequence, dtype=torch.bool)
    before[0, len(PROMPTS[0]) - 1] = True
    with torch.no_grad(), roles.playing(VALUE):
        raw = roles.scalars(VALUE, sequence, before)
    assert float(rollouts.values[0, 0]) == pytest.approx(float(raw) * 2 + 1, abs=1e-5)


def test_returns_end_with_the_score_and_the_last_kl_penalty(roles: Roles) -> None:
    rollouts = roll_out(roles, beta=0.1)
    last = int(rollouts.episodes.completion_mask[0].sum()) - 1
    penalty = 0.1 * float(rollouts.logprobs[0, last] - rollouts.ref_logprobs[0, last])
    assert float(rollouts.returns[0, last]) == pytest.approx(
        len(rollouts.episodes.sequences[0]) - penalty, abs=1e-4
    )


def test_the_same_seeds_roll_out_the_same(roles: Roles) -> None:
    first, second = roll_out(roles), roll_out(roles)
    assert first.episodes.sequences == second.episodes.sequences
    assert torch.equal(first.advantages, second.advantages)
