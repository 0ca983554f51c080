"""Shards: written once, opened mapped, whole or not at all."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_model import SENTENCES
from tests.training.disk import fill
from training.chat_format import ChatFormat
from training.corpus import Corpus
from training.recipe import CorpusError, Recipe, SourceRecipe
from training.records import Document
from training.shards import open_shards, write_shards
from training.tokenizer import train_tokenizer
from training.whole_files import UnwrittenError


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    return ChatFormat(train_tokenizer(SENTENCES, vocab_size=400, context_length=128))


def corpus(*, texts: int = 2, chats_weight: float = 0.0) -> Corpus:
    """A source of stories with weight 3, and one of chats that are only validated on."""
    sources = (
        SourceRecipe(file="stories.jsonl", pretrain=3),
        SourceRecipe(file="chats/short.jsonl", pretrain=chats_weight),
    )
    return Corpus(
        Recipe(sources=sources),
        training=(
            *(Document("stories.jsonl", text=f"Story {i}.") for i in range(texts)),
            Document("chats/short.jsonl", text="Hi."),
        ),
        heldout=(Document("stories.jsonl", text="An end."), Document("chats/short.jsonl", text="Bye.")),
        counts={"stories.jsonl": Counter(read=4, duplicate=1), "chats/short.jsonl": Counter(read=2)},
    )


def test_shards_are_opened_as_they_were_written(chat_format: ChatFormat, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", corpus(), chat_format, seed=0, made_from="abc")
    shards = open_shards(tmp_path / "shards")
    assert shards is not None
    decode = chat_format.tokenizer.decode
    assert sorted(decode(shards.training["stories.jsonl"]).split("<|endoftext|>")) == [
        "",
        "Story 0.",
        "Story 1.",
    ]
    assert {source: decode(tokens) for source, tokens in shards.heldout.items()} == {
        "stories.jsonl": "<|endoftext|>An end.",
        "chats/short.jsonl": "<|endoftext|>Bye.",
    }
    assert shards.counts == {"stories.jsonl": {"read": 4, "duplicate": 1}, "chats/short.jsonl": {"read": 2}}
    assert shards.made_from == "abc"


def test_a_source_of_weight_zero_is_only_held_out(chat_format: ChatFormat, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", corpus(), chat_format, seed=0)
    shards = open_shards(tmp_path / "shards")
    assert shards is not None
    assert shards.weights == {"stories.jsonl": 3.0}
    assert set(shards.training) == {"stories.jsonl"}
    assert set(shards.heldout) == {"stories.jsonl", "chats/short.jsonl"}


def test_tokens_are_mapped_and_not_read(chat_format: ChatFormat, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", corpus(), chat_format, seed=0)
    shards = open_shards(tmp_path / "shards")
    assert shards is not None
    tokens = shards.training["stories.jsonl"]
    assert isinstance(tokens, np.memmap)
    assert tokens.dtype == np.uint32
    assert not tokens.flags.writeable


def test_there_are_none_before_they_are_written(tmp_path: Path) -> None:
    assert open_shards(tmp_path / "shards") is None


def test_weights_of_zero_alone_are_refused(chat_format: ChatFormat, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least one a weight above 0"):
        write_shards(tmp_path / "shards", corpus(texts=0), chat_format, seed=0)


def test_encoding_cut_off_half_way_leaves_no_shards(chat_format: ChatFormat, tmp_path: Path) -> None:
    cut = corpus()
    broken = Corpus(cut.recipe, cut.training, (Document("stories.jsonl", text="\ud800"),), cut.counts)
    with pytest.raises((UnicodeEncodeError, TypeError)):
        write_shards(tmp_path / "shards", broken, chat_format, seed=0)
    assert open_shards(tmp_path / "shards") is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_no_half_of_the_shards(chat_format: ChatFormat, disk: Path) -> None:
    fill(disk, leave=16_384)
    with pytest.raises(UnwrittenError, match=r"The token shards cannot be written to .*Free some space"):
        write_shards(disk / "shards", corpus(texts=3000), chat_format, seed=0)
    assert open_shards(disk / "shards") is None
    assert [path.name for path in disk.iterdir()] == ["filler"]
