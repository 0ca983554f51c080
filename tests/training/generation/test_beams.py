"""Beam search as rows of a batch, beside the library's own."""

from collections import Counter
from typing import Any

import pytest
import torch

from tests.training.generation.conftest import CONTEXT, END, PAD, make_model
from training.generation import (
    BrokenLogits,
    DecodingBatch,
    DecodingParameters,
    InvalidDecoding,
    PromptDoesNotFit,
    StepToken,
)

GREEDY = DecodingParameters(max_new_tokens=20, temperature=0)


def searching(beams: int, new_tokens: int = 20) -> DecodingParameters:
    return DecodingParameters(max_new_tokens=new_tokens, temperature=0, beams=beams)


def new_batch(model: Any, *, end: int = END, **options: Any) -> DecodingBatch[int]:
    return DecodingBatch(model, end_token_id=end, pad_token_id=PAD, keep_logprobs=True, **options)


def collect(batch: DecodingBatch[int]) -> dict[int, list[StepToken[int]]]:
    steps: dict[int, list[StepToken[int]]] = {}
    while len(batch):
        for step in batch.step():
            steps.setdefault(step.row_id, []).append(step)
    return steps


def tokens(steps: list[StepToken[int]]) -> list[int]:
    return [step.token_id for step in steps]


def generate(model: Any, prompt: list[int], beams: int, end: int, new_tokens: int = 20) -> list[int]:
    """The completion that `transformers` finds; an `end` of -1 does not occur."""
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        num_beams=beams,
        length_penalty=1.0,
        early_stopping=False,
        max_new_tokens=min(new_tokens, CONTEXT - len(prompt)),
        eos_token_id=end,
        pad_token_id=PAD,
    )
    found: list[int] = output[0, len(prompt) :].tolist()
    return found[: found.index(end) + 1] if end in found else found


def softened(architecture: str) -> Any:
    """A model whose likeliest tokens are close, so that beams part."""
    model = make_model(architecture)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.3)
    return model


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neo"])
@pytest.mark.parametrize("beams", [2, 5])
def test_the_completion_is_the_one_that_the_library_finds(
    architecture: str, beams: int, prompts: list[list[int]]
) -> None:
    model = softened(architecture)
    endless = [generate(model, prompt, beams, -1) for prompt in prompts]
    containing = Counter(token for completion in endless for token in set(completion[2:]))
    end = next(token for token, count in containing.most_common() if count < len(prompts) / 2)
    expected = [generate(model, prompt, beams, end) for prompt in prompts]
    batch = new_batch(model, end=end)
    for row, prompt in enumerate(prompts):
        batch.add(row, prompt, searching(beams), 0)
    found = collect(batch)
    assert [tokens(found[row]) for row in range(len(prompts))] == expected
    assert any(end in completion for completion in expected)
    assert any(len(completion) == 20 for completion in expected)


def test_a_search_finds_what_greedy_decoding_does_not(prompts: list[list[int]]) -> None:
    model = softened("llama")
    batch = new_batch(model)
    for row, prompt in enumerate(prompts):
        batch.add(row, prompt, searching(4), 0)
        batch.add(100 + row, prompt, GREEDY, 0)
    found = collect(batch)
    scores = {row: sum(step.logprob for step in steps) / len(steps) for row, steps in found.items()}
    assert any(tokens(found[row]) != tokens(found[100 + row]) for row in range(len(prompts)))
    assert sum(scores[row] > scores[100 + row] + 1e-6 for row in range(len(prompts))) >= 2


def test_sampled_rows_are_untouched_by_a_search_beside_them(prompts: list[list[int]]) -> None:
    model = softened("gpt2")
    sampling = DecodingParameters(max_new_tokens=20)
    alone = new_batch(model)
    alone.add(0, prompts[0], sampling, 7)
    expected = tokens(collect(alone)[0])
    batch = new_batch(model)
    batch.add(1, prompts[3], searching(3), 0)
    batch.step()
    batch.add(0, prompts[0], sampling, 7)
    assert tokens(collect(batch)[0]) == expected


def test_a_search_is_removed_with_all_its_rows(gpt2: Any, prompts: list[list[int]]) -> None:
    batch = new_batch(gpt2)
    batch.add(0, prompts[0], searching(4), 0)
    batch.step()
    assert len(batch) == 4
    batch.remove(0)
    assert len(batch) == 0


def test_broken_logits_end_a_search_with_one_error() -> None:
    model = make_model("gpt2")
    with torch.no_grad():
        model.transformer.wpe.weight[8] = float("nan")
    batch = new_batch(model)
    batch.add(0, [5, 6, 7], searching(3), 0)
    steps = collect(batch)[0]
    assert [type(step.error) for step in steps] == [BrokenLogits]


def test_all_beams_of_a_search_get_their_memory_together(gpt2: Any) -> None:
    per_row = (3 + 20) * 2 * 2 * 32 * 4
    batch = new_batch(gpt2, memory_bytes=4 * per_row)
    batch.add(0, [5, 6, 7], GREEDY, 0)
    batch.add(1, [5, 6, 8], searching(4), 0)
    assert {step.row_id for step in batch.step()} == {0}
    assert set(collect(batch)) == {0, 1}
    with pytest.raises(PromptDoesNotFit, match="in 5 beams"):
        batch.add(2, [5, 6, 8], searching(5), 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beams": 0}, "beams is 0"),
        ({"beams": 9}, "from 1 to 8"),
        ({"beams": 2, "temperature": 1.0}, "temperature 0"),
        ({"beams": 2, "temperature": 0, "repetition_penalty": 1.2}, "no repetition penalty"),
        ({"beams": 2, "temperature": 0, "stop_sequences": ((1,),)}, "no stop sequences"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidDecoding, match=message):
        DecodingParameters(**wrong)
