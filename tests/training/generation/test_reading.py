"""How prompts are read: a portion per step, equal ones once, known beginnings not again, within the memory."""

from typing import Any

import pytest
import torch

from tests.training.generation.conftest import PAD, make_model
from training.generation import DecodingBatch, DecodingParameters, PromptDoesNotFit, block_forward
from training.generation.slot_memory import MemoryShape, SlotMemory

NEVER = -1  # an end token that does not occur
GREEDY = DecodingParameters(max_new_tokens=12, temperature=0)


def new_batch(model: Any, **options: Any) -> DecodingBatch[int]:
    return DecodingBatch(model, end_token_id=NEVER, pad_token_id=PAD, **options)


def collect(batch: DecodingBatch[int]) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {}
    while len(batch):
        for step in batch.step():
            assert step.error is None
            tokens.setdefault(step.row_id, []).append(step.token_id)
    return tokens


def alone(model: Any, prompt: list[int]) -> list[int]:
    batch = new_batch(model)
    batch.add(0, prompt, GREEDY, 0)
    return collect(batch)[0]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each forward pass of the fast path computed."""
    seen: list[int] = []
    run = block_forward.run_blocks

    def noted(blocks: Any, memory: Any, token_ids: torch.Tensor, counts: Any) -> torch.Tensor:
        seen.append(len(token_ids))
        return run(blocks, memory, token_ids, counts)

    monkeypatch.setattr(block_forward, "run_blocks", noted)
    return seen


def test_a_long_prompt_is_read_while_others_decode(any_model: Any, prompts: list[list[int]]) -> None:
    batch = new_batch(any_model, read_per_step=20)
    batch.add(0, prompts[0], GREEDY, 0)
    batch.step()
    batch.add(1, prompts[1], GREEDY, 0)  # 90 tokens: five portions
    seen = [[step.row_id for step in batch.step()] for _ in range(6)]
    assert seen == [[0], [0], [0], [0], [0, 1], [0, 1]]
    rest = collect(batch)
    assert rest[1] == alone(any_model, prompts[1])[2:]


def test_prompts_read_in_portions_give_the_same_tokens(any_model: Any, prompts: list[list[int]]) -> None:
    batch = new_batch(any_model, read_per_step=24)
    for row, prompt in enumerate(prompts):
        batch.add(row, prompt, GREEDY, 0)
    assert collect(batch) == {row: alone(any_model, prompt) for row, prompt in enumerate(prompts)}


def test_a_row_may_leave_while_its_prompt_is_read(any_model: Any, prompts: list[list[int]]) -> None:
    batch = new_batch(any_model, read_per_step=20)
    for row in (1, 4):
        batch.add(row, prompts[row], GREEDY, 0)
    batch.step()
    batch.remove(1)
    assert len(batch) == 1
    assert collect(batch) == {4: alone(any_model, prompts[4])}
    batch.add(1, prompts[1], GREEDY, 0)
    batch.step()
    batch.remove(1)
    assert len(batch) == 0
    assert batch.step() == []
    batch.add(2, prompts[2], GREEDY, 0)
    assert collect(batch) == {2: alone(any_model, prompts[2])}


def test_equal_prompts_are_read_once(gpt2: Any, prompts: list[list[int]], widths: list[int]) -> None:
    expected = alone(gpt2, prompts[3])
    widths.clear()
    batch = new_batch(gpt2)
    for row in range(3):
        batch.add(row, prompts[3], GREEDY, 0)
    assert collect(batch) == dict.fromkeys(range(3), expected)
    assert widths[0] == len(prompts[3])


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_the_next_turn_reads_only_what_is_new(
    architecture: str, prompts: list[list[int]], widths: list[int]
) -> None:
    model = make_model(architecture)
    batch = new_batch(model, prefix_bytes=1_000_000)
    batch.add(0, prompts[3], GREEDY, 0)
    answer = collect(batch)[0]
    next_prompt = [*prompts[3], *answer, 7, 8, 9]
    expected = alone(model, next_prompt)
    other = [*prompts[3], 99, 98]
    expected_of_other = alone(model, other)
    widths.clear()
    batch.add(1, next_prompt, GREEDY, 0)
    assert collect(batch)[1] == expected
    assert widths[0] == 4  # the answer's last token, which was never read, and the three new ones
    widths.clear()
    batch.add(2, other, GREEDY, 0)
    batch.add(3, prompts[1], GREEDY, 0)
    tokens = collect(batch)
    assert tokens[2] == expected_of_other
    assert tokens[3] == alone(model, prompts[1])


def test_what_is_kept_stays_within_its_bytes(gpt2: Any, prompts: list[list[int]], widths: list[int]) -> None:
    tokens_kept = len(prompts[1]) + GREEDY.max_new_tokens - 1
    per_token = 2 * 2 * 32 * 4
    batch = new_batch(gpt2, prefix_bytes=tokens_kept * per_token)
    for prompt in (prompts[4], prompts[1]):  # the second pushes out the first
        batch.add(0, prompt, GREEDY, 0)
        collect(batch)
    for prompt, read in ((prompts[1], 1), (prompts[4], len(prompts[4]))):
        widths.clear()
        batch.add(0, prompt, GREEDY, 0)
        collect(batch)
        assert widths[0] == read


def test_rows_wait_until_there_is_memory(any_model: Any, prompts: list[list[int]]) -> None:
    per_row = len(prompts[4]) + GREEDY.max_new_tokens
    forward_bytes = 2 * 2 * 32 * 4 if any_model.config.model_type in ("gpt2", "gpt_neo") else 2 * 2 * 16 * 4
    batch = new_batch(any_model, memory_bytes=2 * per_row * forward_bytes)
    for row in range(3):
        batch.add(row, prompts[4], GREEDY, 0)
    assert [step.row_id for step in batch.step()] == [0, 1]
    assert len(batch) == 3
    assert set(collect(batch)) == {0, 1, 2}


def test_a_row_that_never_fits_is_refused_with_the_numbers(gpt2: Any, prompts: list[list[int]]) -> None:
    batch = new_batch(gpt2, memory_bytes=10_000)
    with pytest.raises(PromptDoesNotFit, match=r"90 tokens and up to 12 new .* 52,224 .* 10,000"):
        batch.add(0, prompts[1], GREEDY, 0)


def test_a_stop_sequence_ends_its_row_only(gpt2: Any, prompts: list[list[int]]) -> None:
    whole = alone(gpt2, prompts[0])
    stop = tuple(whole[4:6])
    end = next(i for i in range(len(whole)) if tuple(whole[i - 1 : i + 1]) == stop)
    batch = new_batch(gpt2)
    stopped = DecodingParameters(max_new_tokens=12, temperature=0, stop_sequences=((119, 118, 117), stop))
    batch.add(0, prompts[0], stopped, 0)
    batch.add(1, prompts[0], GREEDY, 0)
    assert collect(batch) == {0: whole[: end + 1], 1: whole}


def test_a_broken_row_is_not_kept_for_later_prompts(prompts: list[list[int]]) -> None:
    model = make_model("llama")
    expected = alone(model, prompts[3])
    whole = model.model.embed_tokens.weight.detach().clone()
    batch = new_batch(model, prefix_bytes=1_000_000)
    batch.add(0, prompts[3], GREEDY, 0)
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(float("nan"))
    assert [step.error is not None for step in batch.step()] == [True]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(whole)
    batch.add(1, prompts[3], GREEDY, 0)
    assert collect(batch)[1] == expected


def test_many_short_rows_and_then_a_long_one_do_not_multiply() -> None:
    memory = SlotMemory(MemoryShape(1, 1, 1, torch.float32, torch.device("cpu")))
    memory.add_empty(64)
    memory.reserve(64, 10)
    for _ in range(63):
        memory.drop(0)
    memory.reserve(1, 1000)
    assert memory.keys[0].numel() <= 4 * 1024
