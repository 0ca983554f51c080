"""One backbone plays several roles, and each of PEFT's traps that the code relies on is seen here."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tiny_model import make_tiny_model
from tests.training.material import FLOAT32
from training.batches import grouped_by_length, right_padded
from training.loading import LoadedModel, load_language_model
from training.reward.model import raw_scores
from training.roles import AdapterMismatch, Roles
from training.settings import LoraSettings

LORA = LoraSettings(rank=4, alpha=8)
IDS = torch.tensor([[0, 20, 30, 40, 50, 60]])
EVERYWHERE = torch.ones_like(IDS, dtype=torch.bool)


def disturb(roles: Roles, role: str, seed: int = 1) -> None:
    """Make a role differ from the reference, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in roles.parameters(role):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def logits(roles: Roles, role: str | None) -> Tensor:
    with torch.no_grad(), roles.playing(role):
        return roles.logits(IDS, EVERYWHERE)


@pytest.fixture
def roles(anchor: LoadedModel) -> Roles:
    roles = Roles(anchor, FLOAT32)
    roles.add("policy", LORA, seed=1)
    roles.add("value", LORA, seed=2, has_head=True)
    return roles


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_fresh_adapter_changes_nothing(tmp_path: Path, architecture: str) -> None:
    anchor = load_language_model(make_tiny_model(tmp_path / "m", architecture=architecture))
    with torch.no_grad():
        before = anchor.model(IDS, attention_mask=torch.ones_like(IDS)).logits[0]
    roles = Roles(anchor, FLOAT32)
    roles.add("policy", LORA, seed=1)
    torch.testing.assert_close(logits(roles, "policy"), before)
    torch.testing.assert_close(logits(roles, None), before)


def test_with_adapters_off_the_backbone_is_the_reference(roles: Roles) -> None:
    before = logits(roles, None)
    disturb(roles, "policy")
    assert not torch.allclose(logits(roles, "policy"), before, atol=1e-2)
    assert torch.equal(logits(roles, None), before)


def test_roles_do_not_hear_each_other(roles: Roles) -> None:
    disturb(roles, "policy")
    before = logits(roles, "policy")
    disturb(roles, "value", seed=2)
    assert torch.equal(logits(roles, "policy"), before)


def test_a_gradient_reaches_the_role_that_plays_and_no_other(roles: Roles) -> None:
    disturb(roles, "policy")
    disturb(roles, "value", seed=2)
    with roles.playing("policy"):
        roles.logits(IDS, EVERYWHERE).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in roles.parameters("policy"))
    assert all(parameter.grad is None for parameter in roles.parameters("value"))
    with roles.playing("value"):
        roles.scalars("value", IDS, EVERYWHERE).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in roles.parameters("value"))
    assert all(p.grad is None for n, p in roles.language_model.named_parameters() if "lora_" not in n)


def test_merged_weights_say_the_same_and_are_put_back_bit_by_bit(roles: Roles) -> None:
    disturb(roles, "policy")
    reference, expected = logits(roles, None), logits(roles, "policy")
    with torch.no_grad(), roles.merged("policy") as model:
        merged = model(IDS, attention_mask=torch.ones_like(IDS)).logits[0]
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(roles, None), reference)


def test_a_saved_role_comes_back_the_same(roles: Roles, tiny_folder: Path, tmp_path: Path) -> None:
    disturb(roles, "value")
    roles.save("value", tmp_path)
    with torch.no_grad(), roles.playing("value"):
        expected = roles.scalars("value", IDS, EVERYWHERE)
    again = Roles(load_language_model(tiny_folder), FLOAT32)
    again.load("reward", tmp_path, has_head=True)
    with torch.no_grad(), again.playing("reward"):
        assert torch.equal(again.scalars("reward", IDS, EVERYWHERE), expected)


def test_an_adapter_of_another_model_is_refused(roles: Roles, tmp_path: Path) -> None:
    roles.save("policy", tmp_path / "adapter")
    other = Roles(load_language_model(make_tiny_model(tmp_path / "other", seed=5)), FLOAT32)
    with pytest.raises(AdapterMismatch, match="was trained on another model"):
        other.load("policy", tmp_path / "adapter")


def test_a_state_of_another_rank_is_refused(roles: Roles) -> None:
    roles.add("small", LoraSettings(rank=2, alpha=2), seed=3)
    with pytest.raises(AdapterMismatch, match="does not fit the model"):
        roles.load_state("policy", roles.state("small"))


def test_release_gives_the_model_back_as_it_was(anchor: LoadedModel) -> None:
    before = {name: value.clone() for name, value in anchor.model.state_dict().items()}
    with Roles(anchor, FLOAT32) as roles:
        roles.add("policy", LORA, seed=1)
        disturb(roles, "policy")
    after = anchor.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_head_that_is_not_plain_is_seen_and_obeyed(anchor: LoadedModel) -> None:
    """Some models scale their logits after the output embedding; here one is made to."""
    head = anchor.model.get_output_embeddings()
    plain = anchor.model.forward

    def scaled(*args: object, **kwargs: object) -> object:
        output = plain(*args, **kwargs)
        output.logits = output.logits * 0.25
        return output

    anchor.model.forward = scaled
    assert head is anchor.model.get_output_embeddings()
    roles = Roles(anchor, FLOAT32)
    expected = anchor.model(IDS, attention_mask=torch.ones_like(IDS)).logits[0]
    torch.testing.assert_close(logits(roles, None), expected)


def test_a_score_does_not_depend_on_padding_order_or_company(roles: Roles) -> None:
    disturb(roles, "value")
    sequences = [list(range(10, 10 + n)) for n in (3, 17, 8, 30)]
    alone = torch.cat([raw_scores(roles, "value", [sequence]) for sequence in sequences])
    together = raw_scores(roles, "value", sequences)
    backwards = raw_scores(roles, "value", sequences[::-1], max_batch_tokens=40).flip(0)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(backwards, alone, atol=1e-5, rtol=0)


def test_rows_are_padded_on_the_right() -> None:
    assert right_padded([[5, 6], [7]], 1).tolist() == [[5, 6], [7, 1]]


def test_groups_hold_similar_lengths_and_a_limit_of_tokens() -> None:
    assert grouped_by_length([3, 9, 4, 8, 30], 18) == [[4], [1, 3], [0, 2]]
