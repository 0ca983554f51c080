from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.training.generation.conftest import CONTEXT, END, PAD, VOCABULARY, make_model
from training.generation import BrokenLogits, DecodingBatch, DecodingParameters, PromptDoesNotFit, StepToken

TIE = 1e-4
GREEDY = DecodingParameters(max_new_tokens=70, temperature=0)


def new_batch(model: Any) -> DecodingBatch[int]:
    return DecodingBatch(model, end_token_id=END, pad_token_id=PAD)


def generate(model: Any, prompt: Sequence[int], parameters: DecodingParameters = GREEDY) -> list[int]:
    """What `transformers` itself generates greedily."""
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=min(parameters.max_new_tokens, CONTEXT - len(prompt)),
        repetition_penalty=parameters.repetition_penalty,
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def run(batch: DecodingBatch[int]) -> dict[int, list[int]]:
    """Decode until every row has left."""
    tokens: dict[int, list[int]] = {}
    collect_rest(tokens, batch)
    return tokens


def collect_rest(tokens: dict[int, list[int]], batch: DecodingBatch[int]) -> None:
    while len(batch):
        collect(tokens, batch.step())


def collect(tokens: dict[int, list[int]], steps: Sequence[StepToken[int]]) -> None:
    for step in steps:
        assert step.error is None
        tokens.setdefault(step.row_id, []).append(step.token_id)


def assert_same_up_to_ties(model: Any, prompt: Sequence[int], ours: list[int], theirs: list[int]) -> None:
    """Tokens are equal, or part at a step where the two best logits differ by less than a rounding error."""
    if ours == theirs:
        return
    parting = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *theirs[:parting]]])).logits[0, -1]
    gap = abs(float(logits[ours[parting]] - logits[theirs[parting]]))
    assert gap < TIE, f"token {parting} is {ours[parting]}, generate chose {theirs[parting]}, gap {gap}"


@pytest.fixture(scope="module")
def expected(any_model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """The greedy completions of `transformers`: of several lengths, and not one token over and over."""
    completions = [generate(any_model, prompt) for prompt in prompts]
    assert max(len(completion) for completion in completions) == 70
    assert len({token for completion in completions for token in completion}) > 10
    return completions


def test_greedy_alone_equals_generate(
    any_model: Any, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    for prompt, completion in zip(prompts, expected, strict=True):
        batch = new_batch(any_model)
        batch.add(0, prompt, GREEDY, 0)
        assert_same_up_to_ties(any_model, prompt, run(batch)[0], completion)


def test_greedy_equals_generate_while_rows_join_and_leave(
    any_model: Any, prompts: list[list[int]], expected: list[list[int]]
) -> None:
    batch = new_batch(any_model)
    tokens: dict[int, list[int]] = {}
    for step in range(200):
        if step % 7 == 0 and step // 7 < len(prompts):
            batch.add(step // 7, prompts[step // 7], GREEDY, 0)
        if step == 10:
            batch.add(100, prompts[1], GREEDY, 0)  # the longest, so the others move to the right
        if step == 15:
            batch.remove(100)
        collect(tokens, batch.step())
    assert len(batch) == 0
    for row, prompt in enumerate(prompts):
        assert_same_up_to_ties(any_model, prompt, tokens[row], expected[row])


def test_a_repetition_penalty_in_a_mixed_batch_equals_generate(gpt2: Any, prompts: list[list[int]]) -> None:
    penalised = DecodingParameters(max_new_tokens=30, temperature=0, repetition_penalty=1.3)
    batch = new_batch(gpt2)
    for row, prompt in enumerate(prompts):
        batch.add(row, prompt, penalised if row % 2 else GREEDY, 0)
    tokens = run(batch)
    for row, prompt in enumerate(prompts):
        expected = generate(gpt2, prompt, penalised if row % 2 else GREEDY)
        assert_same_up_to_ties(gpt2, prompt, tokens[row], expected)


def test_the_same_seed_samples_the_same_tokens_alone_and_in_a_batch(
    any_model: Any, prompts: list[list[int]]
) -> None:
    parameters = DecodingParameters(max_new_tokens=25, temperature=0.9, top_p=0.95, top_k=30)
    together = new_batch(any_model)
    in_batch: dict[int, list[int]] = {}
    alone: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        together.add(row, prompt, parameters, seed=row)
        collect(in_batch, together.step())
        single = new_batch(any_model)
        single.add(row, prompt, parameters, seed=row)
        collect_rest(alone, single)
    collect_rest(in_batch, together)
    assert in_batch == alone
    assert len({tuple(tokens) for tokens in alone.values()}) == len(prompts)


def test_two_rows_of_one_prompt_with_other_seeds_differ(gpt2: Any) -> None:
    batch = new_batch(gpt2)
    for row in (0, 1):
        batch.add(row, [5, 6, 7], DecodingParameters(max_new_tokens=20, temperature=2.0), seed=row)
    tokens = run(batch)
    assert tokens[0] != tokens[1]


def test_every_token_of_a_row_is_drawn_anew(gpt2: Any) -> None:
    batch = new_batch(gpt2)
    batch.add(
        0, [5, 6, 7], DecodingParameters(max_new_tokens=40, temperature=1000), seed=1
    )  # all but uniform
    tokens = run(batch)[0]
    assert len(set(tokens)) > len(tokens) / 2


def test_a_row_ends_at_its_own_limit_and_the_others_go_on(gpt2: Any) -> None:
    batch = new_batch(gpt2)
    batch.add(0, [5, 6], DecodingParameters(max_new_tokens=2, temperature=0), 0)
    batch.add(1, [5, 6], DecodingParameters(max_new_tokens=5, temperature=0), 0)
    last = [[step.is_last for step in batch.step()] for _ in range(2)]
    assert last == [[False, False], [True, False]]
    assert len(batch) == 1


def test_a_row_ends_with_the_context(any_model: Any) -> None:
    prompt = [7] * (CONTEXT - 3)
    batch = new_batch(any_model)
    batch.add(0, prompt, GREEDY, 0)
    batch.add(1, [9, 10], DecodingParameters(max_new_tokens=5, temperature=0), 0)
    assert len(run(batch)[0]) == 3


def test_any_stop_token_ends_a_row(gpt2: Any) -> None:
    [first, second, *_] = generate(gpt2, [5, 6, 7])
    batch: DecodingBatch[int] = DecodingBatch(
        gpt2, end_token_id=END, pad_token_id=PAD, other_stop_ids=[second]
    )
    batch.add(0, [5, 6, 7], GREEDY, 0)
    assert run(batch)[0] == [first] if first == second else [first, second]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([], "The prompt is empty"),
        ([5] * CONTEXT, "context of 160 has no room"),
        ([5, VOCABULARY], "the model knows 0 to 119"),
        ([-1], "token ids from -1"),
    ],
)
def test_a_prompt_that_cannot_be_decoded_is_refused(gpt2: Any, prompt: list[int], words: str) -> None:
    with pytest.raises(PromptDoesNotFit, match=words):
        new_batch(gpt2).add(0, prompt, GREEDY, 0)


def test_nan_logits_end_their_row_only_and_leave_no_trace(prompts: list[list[int]]) -> None:
    model = make_model("gpt2")
    short = DecodingParameters(max_new_tokens=20, temperature=0)
    expected = generate(model, prompts[0], short)
    with torch.no_grad():
        model.transformer.wpe.weight[30] = float("nan")  # only rows that reach position 30 break
    batch = new_batch(model)
    batch.add(0, prompts[0], short, 0)
    batch.add(1, prompts[1], short, 0)
    tokens: list[int] = []
    errors: list[int] = []
    for step_number in range(20):
        if step_number == 8:
            batch.add(2, prompts[2], short, 0)  # takes the place of the broken row
        for step in batch.step():
            if step.error is not None:
                assert isinstance(step.error, BrokenLogits)
                errors.append(step.row_id)
            elif step.row_id == 0:
                tokens.append(step.token_id)
    assert errors == [1]
    assert tokens == expected


def test_what_a_broken_row_left_behind_is_erased_before_its_columns_are_used_again(
    prompts: list[list[int]],
) -> None:
    model = make_model("gpt2")
    short = DecodingParameters(max_new_tokens=10, temperature=0)
    expected = generate(model, prompts[3], short)
    with torch.no_grad():
        model.transformer.wpe.weight[30] = float("nan")
    batch = new_batch(model)
    batch.add(0, prompts[0], GREEDY, 0)
    batch.add(1, prompts[1], GREEDY, 0)  # breaks at once, and leaves 90 columns of the second place behind
    assert [step.row_id for step in batch.step() if step.error] == [1]
    batch.add(2, prompts[3], short, 0)  # 17 tokens, on the second place
    tokens = [step.token_id for step in batch.step() if step.row_id == 2]
    batch.add(3, [7] * 28, GREEDY, 0)  # longer, so the second place gets empty columns on its left
    tokens += [step.token_id for _ in range(9) for step in batch.step() if step.row_id == 2]
    assert tokens == expected


def test_a_failing_prompt_does_not_take_its_neighbours_along() -> None:
    model = make_model("gpt2")
    model.config.vocab_size = VOCABULARY + 50  # more than there are embeddings
    expected = generate(model, [5, 6, 7])
    batch = new_batch(model)
    batch.add(0, [5, 6, 7], GREEDY, 0)
    batch.add(1, [VOCABULARY + 10], GREEDY, 0)
    first = batch.step()
    assert [(step.row_id, type(step.error)) for step in first] == [(1, IndexError), (0, type(None))]
    assert [first[1].token_id, *run(batch)[0]] == expected


def test_removing_an_unknown_row_is_no_error(gpt2: Any) -> None:
    batch = new_batch(gpt2)
    batch.add(0, [5], GREEDY, 0)
    batch.remove(7)
    assert len(batch) == 1
    batch.remove(0)
    assert len(batch) == 0
    assert batch.step() == []
