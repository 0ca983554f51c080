"""Documents read back from their tokens, and losses that no padding or row touches."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.heldout import Loss, documents_of, encode_stream, model_nats, text_bytes
from benchmarks.language_model import open_run
from tests.tiny_model import SENTENCES, make_tiny_model
from training.chat_format import ChatFormat
from training.loading import LoadedModel, load_language_model
from training.records import Document
from training.tokenizer import train_tokenizer

DOCUMENTS = [
    Document("", text="I love pizza.\nAnd you? 你好！"),
    Document(
        "",
        messages=(
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi <|end|> you"},
            {"role": "assistant", "content": "Hello!"},
        ),
    ),
    Document("", text="Music"),
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_language_model(make_tiny_model(tmp_path_factory.mktemp("model"), context=16))


def test_documents_come_back_from_their_tokens_and_go_into_another_models(loaded: LoadedModel) -> None:
    stream = encode_stream(DOCUMENTS, loaded.chat_format)
    assert list(documents_of(stream, loaded.chat_format)) == DOCUMENTS
    other = ChatFormat(train_tokenizer(SENTENCES, vocab_size=300, context_length=16))
    again = encode_stream(DOCUMENTS, other)
    assert len(again) > len(stream)
    assert list(documents_of(again, other)) == DOCUMENTS


def test_only_texts_and_messages_have_bytes() -> None:
    assert text_bytes(DOCUMENTS) == (13 + 1 + 9 + 9) + (9 + 14 + 6) + 5


def test_loss_by_byte_and_by_token() -> None:
    loss = Loss(nats=8 * math.log(2), tokens=4, text_bytes=16)
    assert loss.per_token == pytest.approx(1.386294)
    assert loss.perplexity == pytest.approx(4)
    assert loss.bits_per_byte == pytest.approx(0.5)
    assert loss + Loss(1.0, 2, 3) == Loss(8 * math.log(2) + 1.0, 6, 19)


@pytest.mark.parametrize("length", [2, 16, 17, 18, 150, 161])
def test_each_token_but_the_first_is_paid_for_once_with_its_row_before_it(
    loaded: LoadedModel, length: int
) -> None:
    stream = np.random.default_rng(length).integers(0, 390, size=length)
    expected = 0.0
    for place in range(1, length):  # one token at a time, no batch, no row
        start = (place - 1) // 16 * 16
        with torch.no_grad():
            logits = loaded.model(torch.tensor(stream[None, start:place])).logits[0, -1]
        expected -= float(logits.log_softmax(-1)[stream[place]])
    assert model_nats(loaded, stream) == pytest.approx(expected, rel=1e-5)


def test_a_run_without_shards_names_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give the output folder of `rapport pretrain`"):
        open_run(tmp_path)
