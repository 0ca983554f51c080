from typing import Any

import pytest
import torch

from tests.training.generation.conftest import END, PAD, make_model
from training.generation import DecodingParameters, SampledCompletion, sample_completions


def sample(
    model: Any,
    prompts: list[list[int]],
    parameters: DecodingParameters,
    **options: Any,
) -> list[SampledCompletion]:
    options.setdefault("seeds", range(len(prompts)))
    return sample_completions(
        model, prompts, parameters=parameters, end_token_id=END, pad_token_id=PAD, **options
    )


def test_completions_come_in_the_order_of_the_prompts(gpt2: Any, prompts: list[list[int]]) -> None:
    parameters = DecodingParameters(max_new_tokens=12)
    together = sample(gpt2, prompts, parameters)
    alone = [sample(gpt2, [prompt], parameters, seeds=[seed])[0] for seed, prompt in enumerate(prompts)]
    assert together == alone


def test_a_small_batch_gives_the_same_completions_as_a_large_one(gpt2: Any, prompts: list[list[int]]) -> None:
    parameters = DecodingParameters(max_new_tokens=12)
    assert sample(gpt2, prompts, parameters, max_rows=3) == sample(gpt2, prompts, parameters)


def test_no_prompts_give_no_completions(gpt2: Any) -> None:
    assert sample(gpt2, [], DecodingParameters()) == []


def test_logprobs_are_those_of_a_fresh_forward_pass(any_model: Any, prompts: list[list[int]]) -> None:
    parameters = DecodingParameters(max_new_tokens=10, temperature=0.7, top_p=0.9)
    for prompt, completion in zip(
        prompts, sample(any_model, prompts, parameters, keep_logprobs=True), strict=True
    ):
        tokens = torch.tensor(completion.token_ids)
        with torch.no_grad():
            logits = any_model(torch.tensor([[*prompt, *completion.token_ids]])).logits[0]
        expected = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(-1, tokens[:, None]).squeeze(-1)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_logprobs_are_kept_only_on_request(gpt2: Any) -> None:
    [completion] = sample(gpt2, [[5]], DecodingParameters(max_new_tokens=3))
    assert completion.logprobs is None


def test_an_ended_completion_includes_the_end_token() -> None:
    model = make_model("gpt2", seed=5)
    completions = sample(model, [[5, 6]] * 40, DecodingParameters(max_new_tokens=60, temperature=3.0))
    ended = [completion for completion in completions if completion.is_ended]
    cut = [completion for completion in completions if not completion.is_ended]
    assert ended
    assert cut
    assert all(completion.token_ids[-1] == END for completion in ended)
    assert all(END not in completion.token_ids[:-1] for completion in completions)
    assert all(len(completion.token_ids) == 60 for completion in cut)


def test_the_frequencies_of_many_draws_are_the_models_probabilities() -> None:
    model = make_model("gpt2", seed=2)
    with torch.no_grad():
        expected = (model(torch.tensor([[5, 6, 7]])).logits[0, -1] / 0.3).softmax(-1)
    draws = 4000
    parameters = DecodingParameters(max_new_tokens=1, temperature=0.3)
    completions = sample(model, [[5, 6, 7]] * draws, parameters, max_rows=500)
    drawn = torch.tensor([completion.token_ids[0] for completion in completions])
    frequencies = torch.bincount(drawn, minlength=len(expected)) / draws
    likely = expected > 0.02
    assert likely.sum() >= 4
    tolerance = 4 * (expected * (1 - expected) / draws).sqrt()  # four standard errors
    assert bool(((frequencies - expected).abs() < tolerance)[likely].all())


def test_dropout_is_off_while_sampling_and_on_again_after(prompts: list[list[int]]) -> None:
    model = make_model("gpt2")
    parameters = DecodingParameters(max_new_tokens=8)
    expected = sample(model, prompts, parameters)
    model.train()
    assert sample(model, prompts, parameters) == expected
    assert model.training


def test_on_token_sees_every_token_of_every_prompt(gpt2: Any) -> None:
    seen: list[tuple[int, int]] = []
    completions = sample(
        gpt2,
        [[5], [6, 7]],
        DecodingParameters(max_new_tokens=4),
        on_token=lambda index, token: seen.append((index, token)),
    )
    for index, completion in enumerate(completions):
        assert tuple(token for row, token in seen if row == index) == completion.token_ids


class Stopped(Exception):
    pass


def test_on_token_may_stop_the_sampling(gpt2: Any) -> None:
    def stop(*_: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        sample(gpt2, [[5]], DecodingParameters(), on_token=stop)


def test_a_seed_is_needed_for_every_prompt(gpt2: Any) -> None:
    with pytest.raises(ValueError, match="2 prompts and 1 seeds"):
        sample(gpt2, [[5], [6]], DecodingParameters(), seeds=[1])


def test_prompts_of_like_length_are_read_together() -> None:
    model = make_model("gpt_neo")  # no blocks of ours, so the model's own forward is what runs
    shapes: list[tuple[int, ...]] = []

    def note_shape(_: Any, __: Any, inputs: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple(inputs["input_ids"].shape))

    model.register_forward_pre_hook(note_shape, with_kwargs=True)
    prompts = [[5] * length for length in (3, 60, 2, 50)]
    sample(model, prompts, DecodingParameters(max_new_tokens=1), max_rows=2)
    assert shapes == [(2, 60), (2, 3)]
