"""Packed rows: what they hold, that weights are kept, and that any step can be asked for again."""

import numpy as np

from tests.tiny_model import SENTENCES
from training.chat_format import ChatFormat
from training.packing import PackedRows, pack
from training.records import Document
from training.tokenizer import train_tokenizer


def rows_of(weights: dict[str, float], *, seed: int = 0) -> PackedRows:
    """Two sources of 1,000 tokens: "low" counts 0 … 999, "high" 5000 … 5999."""
    streams = {
        "low": np.arange(0, 1000, dtype=np.uint32),
        "high": np.arange(5000, 6000, dtype=np.uint32),
    }
    return PackedRows(streams, weights, context_length=10, seed=seed)


def test_a_row_is_a_run_of_its_source_one_longer_than_the_context() -> None:
    batch = rows_of({"low": 1.0, "high": 1.0}).rows(range(50)).numpy()
    assert batch.shape == (50, 11)
    assert (np.diff(batch, axis=1) == 1).all()


def test_a_source_of_weight_three_comes_three_times_as_often() -> None:
    rows = rows_of({"low": 3.0, "high": 1.0})
    batch = rows.rows(range(rows.rows_per_epoch)).numpy()
    low, high = int((batch[:, 0] < 5000).sum()), int((batch[:, 0] >= 5000).sum())
    assert (low, high) == (294, 98)


def test_an_epoch_of_weight_one_shows_no_token_twice() -> None:
    rows = rows_of({"low": 1.0, "high": 0.0})
    starts = rows.rows(range(rows.rows_per_epoch)).numpy()[:, 0]
    assert len(set(starts)) == len(starts) == 98
    assert min(np.diff(np.sort(starts))) == 10


def test_any_step_can_be_asked_for_again_and_another_seed_differs() -> None:
    rows, again = rows_of({"low": 1.0, "high": 1.0}), rows_of({"low": 1.0, "high": 1.0})
    rows.rows(range(190))
    assert (rows.rows(range(190, 210)) == again.rows(range(190, 210))).all()
    other = rows_of({"low": 1.0, "high": 1.0}, seed=1)
    assert not (rows.rows(range(20)) == other.rows(range(20))).all()


def test_a_source_shorter_than_a_row_is_repeated_to_fill_it() -> None:
    rows = PackedRows({"a": np.asarray([7, 8], dtype=np.uint32)}, {"a": 1.0}, context_length=4, seed=0)
    assert set(rows.rows(range(3)).flatten().tolist()) == {7, 8}


def test_documents_are_separated_and_conversations_rendered() -> None:
    chat_format = ChatFormat(train_tokenizer(SENTENCES, vocab_size=400, context_length=128))
    chat = Document(
        "chats", messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."})
    )
    streams = pack(
        [Document("texts", text="One."), Document("texts", text="Two."), chat], chat_format, seed=0
    )
    assert chat_format.tokenizer.decode(streams["chats"]) == (
        "<|endoftext|><|user|>Hi<|end|><|assistant|>Yes.<|end|>"
    )
    assert sorted(chat_format.tokenizer.decode(streams["texts"]).split("<|endoftext|>")) == [
        "",
        "One.",
        "Two.",
    ]
