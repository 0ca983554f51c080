"""Votes become batches in which every completion of a prompt is once, whatever the number of pairs."""

from dataclasses import replace

import pytest
import torch

from feedback.preference import Message
from tests.training.material import make_record
from training.loading import LoadedModel
from training.reward.data import (
    RankingCollator,
    completion_ids,
    fitted_prompt,
    pairs_of_prompts,
    ranked_pairs,
    ranked_prompts,
)


def test_votes_on_one_prompt_are_one_element_with_each_completion_once(anchor: LoadedModel) -> None:
    chat_format = anchor.chat_format
    records = [
        make_record(1, chat_format, prompt="Hello", texts=("Yes.", "No."), ranks=(1, 2)),
        make_record(2, chat_format, prompt="Good day", texts=("Fine.", "Warm."), ranks=(1, 1)),
        make_record(3, chat_format, prompt="Hello", texts=("No.", "I love pizza."), ranks=(1, 2)),
    ]
    hello, good_day = ranked_prompts(records, chat_format, 64)
    assert len(hello.sequences) == 3
    assert hello.positions == ((0, 1), (1, 2))
    assert hello.ranks == ((1, 2), (1, 2))
    prompt = chat_format.prompt_ids([{"role": "user", "content": "Hello"}])
    assert hello.sequences[0] == (*prompt, *chat_format.completion_ids("Yes."))
    assert (good_day.positions, good_day.ranks, good_day.is_cut) == (((0, 1),), ((1, 1),), False)


def test_pairs_point_into_the_whole_batch() -> None:
    rows = [
        {"sequences": [[1], [2], [3]], "positions": [[0, 1], [1, 2]], "ranks": [[1, 2], [2, 1]]},
        {"sequences": [[4], [5]], "positions": [[0, 1]], "ranks": [[1, 1]]},
    ]
    pairs = pairs_of_prompts(rows)
    assert list(zip(pairs.winners.tolist(), pairs.losers.tolist(), strict=True)) == [(0, 1), (2, 1)]
    assert list(zip(pairs.tied_left.tolist(), pairs.tied_right.tolist(), strict=True)) == [(3, 4)]
    assert pairs.ranking_count == 3


def test_each_ranking_weighs_one_in_all() -> None:
    pairs = ranked_pairs([[1, 2, 3, 4], [2, 1], [1, 1, 2]])
    assert pairs.win_weights.tolist() == pytest.approx([1 / 6] * 6 + [1.0] + [1 / 3] * 2)
    assert pairs.tie_weights.tolist() == pytest.approx([1 / 3])


def test_the_collator_pads_on_the_right_and_tells_the_lengths() -> None:
    batch = RankingCollator(pad_token_id=1)(
        [{"sequences": [[7, 8, 9], [7, 8]], "positions": [[0, 1]], "ranks": [[1, 2]]}]
    )
    assert batch["input_ids"].tolist() == [[7, 8, 9], [7, 8, 1]]
    assert batch["lengths"].tolist() == [3, 2]
    assert torch.equal(batch["pairs"].winners, torch.tensor([0]))


def test_the_tokens_that_were_sampled_are_scored(anchor: LoadedModel) -> None:
    record = make_record(1, anchor.chat_format, texts=("Yes.", "No."))
    letters = tuple(token for letter in "Yes." for token in anchor.chat_format.text_ids(letter))
    spelt = replace(record, token_ids=(letters, record.token_ids[1]))
    assert completion_ids(spelt, 0, anchor.chat_format) == letters


def test_text_of_another_tokenizer_is_encoded_anew(anchor: LoadedModel) -> None:
    record = make_record(1, anchor.chat_format, texts=("Yes.", "No."))
    foreign = replace(record, token_ids=((99999, 5), (20, 21, 22)), finish_reasons=("end", "length"))
    ended = anchor.chat_format.completion_ids("Yes.")
    assert completion_ids(foreign, 0, anchor.chat_format) == tuple(ended)
    assert completion_ids(foreign, 1, anchor.chat_format) == tuple(
        anchor.chat_format.completion_ids("No.")[:-1]
    )


def test_too_long_a_prompt_loses_its_oldest_turns_and_stays(anchor: LoadedModel) -> None:
    record = make_record(1, anchor.chat_format)
    turns = (Message("user", "old " * 20), Message("assistant", "Yes."), Message("user", "new"))
    (prompt,) = ranked_prompts([replace(record, prompt=turns)], anchor.chat_format, 40)
    assert prompt.is_cut
    assert max(map(len, prompt.sequences)) <= 40
    kept = anchor.chat_format.prompt_ids([{"role": "user", "content": "new"}])
    assert prompt.sequences[0][: len(kept)] == tuple(kept)


def test_too_long_a_turn_loses_its_head(anchor: LoadedModel) -> None:
    whole = anchor.chat_format.prompt_ids([{"role": "user", "content": "word " * 60}])
    ids, is_cut = fitted_prompt([Message("user", "word " * 60)], anchor.chat_format, 10)
    assert (ids, is_cut) == (whole[-10:], True)
