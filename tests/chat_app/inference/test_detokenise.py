from pathlib import Path

import pytest

from chat_app.inference.detokenise import Detokeniser
from training.chat_format import ChatFormat


@pytest.fixture(scope="module")
def chat_format(version_folders: dict[int, Path]) -> ChatFormat:
    return ChatFormat.from_folder(version_folders[1])


def texts(chat_format: ChatFormat, ids: list[int]) -> list[str]:
    detokeniser = Detokeniser(
        lambda window: str(chat_format.tokenizer.decode(window, skip_special_tokens=True))
    )
    return [detokeniser.text(ids[: count + 1]) for count in range(len(ids))]


def byte_ids(chat_format: ChatFormat, text: str) -> list[int]:
    """Encode a text so that every byte is a token of its own."""
    letters = chat_format.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return [chat_format.tokenizer.convert_tokens_to_ids(letter) for piece, _ in letters for letter in piece]


def test_a_character_appears_only_when_its_last_byte_is_there(chat_format: ChatFormat) -> None:
    ids = byte_ids(chat_format, "a你🙂é")
    assert len(ids) == 1 + 3 + 4 + 2
    assert texts(chat_format, ids) == ["a", "a", "a", "a你", "a你", "a你", "a你", "a你🙂", "a你🙂", "a你🙂é"]


@pytest.mark.parametrize(
    "text", ["Hello! How are you today?", "你好！我是一个很小的模型。", "a  b\n\n c 👩‍👩‍👧 ￡"]
)
def test_the_last_text_is_the_whole_text_and_every_text_begins_it(chat_format: ChatFormat, text: str) -> None:
    steps = texts(chat_format, chat_format.text_ids(text))
    assert steps[-1] == text
    assert all(text.startswith(step) for step in steps)


def test_bytes_that_are_no_character_do_not_hold_up_what_follows(chat_format: ChatFormat) -> None:
    broken = [*byte_ids(chat_format, "你")[:2], *byte_ids(chat_format, "ok")]
    assert texts(chat_format, broken)[-1].endswith("ok")


def test_blanks_before_the_first_word_are_left_out(chat_format: ChatFormat) -> None:
    assert texts(chat_format, chat_format.text_ids("  How are you"))[-1] == "How are you"


def test_several_tokens_at_once_give_the_same_text(chat_format: ChatFormat) -> None:
    ids = byte_ids(chat_format, "ab 你好")
    detokeniser = Detokeniser(lambda window: str(chat_format.tokenizer.decode(window)))
    assert [detokeniser.text(ids[:count]) for count in (0, 2, 2, 5, 9)] == ["", "ab", "ab", "ab", "ab 你好"]
