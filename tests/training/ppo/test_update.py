"""An update's gradients: token means over the whole step, γ in the same step, nothing from padding or splits."""

from collections import defaultdict
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.training.material import FLOAT32
from training.loading import LoadedModel
from training.ppo.rollout import POLICY, VALUE, Rollouts, evaluate_episodes, sample_episodes
from training.ppo.update import Learner, UpdatePlan
from training.roles import Roles
from training.settings import LoraSettings, PPOSettings

PROMPTS = [[0, 20, 21, 22], [0, 30], [0, 40, 41], [0, 33, 34]]
SETTINGS = PPOSettings(episodes=4, minibatches=1, epochs=1, gamma=0.5, max_grad_norm=1e9)
PLAN = UpdatePlan(0, policy_learning_rate=0.0, value_learning_rate=0.0, is_policy_learning=True, seed=0)
ORDINARY = torch.tensor([[20, 30, 40, 50, 60], [21, 31, 41, 51, 61]])


@pytest.fixture
def roles(anchor: LoadedModel) -> Roles:
    roles = Roles(anchor, FLOAT32)
    for number, role in enumerate((POLICY, VALUE)):
        roles.add(role, LoraSettings(rank=4, alpha=8), seed=number, has_head=role == VALUE)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in roles.parameters(role):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return roles


@pytest.fixture
def rollouts(roles: Roles) -> Rollouts:
    return evaluate_episodes(
        roles,
        sample_episodes(roles, PROMPTS, seeds=[1, 2, 3, 4], max_new_tokens=10),
        scorer=lambda sequences, is_ended: torch.tensor([1.0, -1.0, 0.5, 2.0]),
        values_of=lambda raw: raw,
        beta=0.1,
        gae_lambda=0.95,
        microbatch_tokens=1000,
    )


def gradients(
    roles: Roles, rollouts: Rollouts, settings: PPOSettings = SETTINGS, microbatch_tokens: int = 1000
) -> dict[str, Sequence[Tensor]]:
    """The gradients of one optimiser step over all episodes, taken at a learning rate of 0."""
    learner = Learner(roles, settings, values_of=lambda raw: raw, microbatch_tokens=microbatch_tokens)
    learner.update(rollouts, lambda step: ORDINARY, PLAN, lambda share: None)
    return {
        name: [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        for name, parameters in (("policy", learner.policy), ("value", learner.value))
    }


def test_another_split_into_microbatches_gives_the_same_gradient(roles: Roles, rollouts: Rollouts) -> None:
    whole, split = gradients(roles, rollouts), gradients(roles, rollouts, microbatch_tokens=1)
    for name in ("policy", "value"):
        torch.testing.assert_close(whole[name], split[name], atol=1e-6, rtol=1e-4)


def test_the_policy_gradient_is_that_of_the_plain_mean_over_tokens(roles: Roles, rollouts: Rollouts) -> None:
    """At ratio 1 the surrogate's gradient is −mean(A ∇ log π): worked out here episode by episode."""
    got = gradients(roles, rollouts, SETTINGS.model_copy(update={"gamma": 0.0}))["policy"]
    mask = rollouts.episodes.completion_mask
    for parameter in roles.parameters(POLICY):
        parameter.grad = None
    with roles.playing(POLICY):
        for row, prompt in enumerate(PROMPTS):
            ids = torch.tensor([rollouts.episodes.sequences[row]])
            logprobs = roles.logits(ids, torch.ones_like(ids, dtype=torch.bool)).log_softmax(-1)
            for t in range(ids.shape[1] - len(prompt)):
                place = len(prompt) + t
                weight = rollouts.advantages[row, t] / mask.sum()
                (-weight * logprobs[place - 1, ids[0, place]]).backward(retain_graph=True)  # type: ignore[no-untyped-call]
    expected = [parameter.grad for parameter in roles.parameters(POLICY) if parameter.grad is not None]
    torch.testing.assert_close(list(got), expected, atol=1e-6, rtol=1e-4)


def test_the_gamma_term_adds_its_gradient_to_the_same_step(roles: Roles, rollouts: Rollouts) -> None:
    without = gradients(roles, rollouts, SETTINGS.model_copy(update={"gamma": 0.0}))["policy"]
    with_gamma = gradients(roles, rollouts)["policy"]
    for parameter in roles.parameters(POLICY):
        parameter.grad = None
    with roles.playing(POLICY):
        logprobs = roles.logits(ORDINARY, torch.ones_like(ORDINARY, dtype=torch.bool)).log_softmax(-1)
        logprobs = logprobs.view(2, 5, -1)
        chosen = logprobs[:, :-1].gather(-1, ORDINARY[:, 1:, None])
        (-0.5 * chosen.mean()).backward()  # type: ignore[no-untyped-call]
    expected = [p.grad for p in roles.parameters(POLICY) if p.grad is not None]
    change = [a - b for a, b in zip(with_gamma, without, strict=True)]
    torch.testing.assert_close(change, expected, atol=1e-6, rtol=1e-3)


def test_a_plan_without_the_policy_moves_the_value_alone(roles: Roles, rollouts: Rollouts) -> None:
    before = {role: roles.state(role) for role in (POLICY, VALUE)}
    learner = Learner(roles, SETTINGS, values_of=lambda raw: raw, microbatch_tokens=1000)
    plan = UpdatePlan(0, 1e-2, 1e-2, is_policy_learning=False, seed=0)
    numbers = learner.update(rollouts, lambda step: ORDINARY, plan, lambda share: None)
    assert "policy_loss" not in numbers
    assert all(torch.equal(value, before[POLICY][name]) for name, value in roles.state(POLICY).items())
    assert any(not torch.equal(value, before[VALUE][name]) for name, value in roles.state(VALUE).items())


def test_every_epoch_takes_every_episode_once(roles: Roles, rollouts: Rollouts) -> None:
    seen: dict[int, list[int]] = defaultdict(list)

    class Watched(Learner):
        def _value_gradient(
            self, rollouts: Rollouts, rows: Sequence[int], numbers: dict[str, list[float]]
        ) -> None:
            seen[len(seen)] = list(rows)
            super()._value_gradient(rollouts, rows, numbers)

    settings = SETTINGS.model_copy(update={"epochs": 2, "minibatches": 2})
    learner = Watched(roles, settings, values_of=lambda raw: raw, microbatch_tokens=1000)
    learner.update(rollouts, lambda step: ORDINARY, PLAN, lambda share: None)
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == [0, 1, 2, 3]
