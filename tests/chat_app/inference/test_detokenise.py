from collections.abc import Sequence
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


class Counting:
    """Decodes, and counts the tokens that it has decoded."""

    def __init__(self, chat_format: ChatFormat) -> None:
        self.chat_format = chat_format
        self.tokens = 0

    def __call__(self, window: Sequence[int]) -> str:
        self.tokens += len(window)
        return str(self.chat_format.tokenizer.decode(window, skip_special_tokens=True))


@pytest.mark.parametrize("text", ["The sea is wide. ", "你好，世界！🙂👩‍👩‍👧 "])
def test_a_long_answer_is_decoded_in_short_windows(chat_format: ChatFormat, text: str) -> None:
    ids = [token for _ in range(60) for token in byte_ids(chat_format, text)]
    decode = Counting(chat_format)
    detokeniser = Detokeniser(decode)
    for count in range(1, len(ids) + 1):
        detokeniser.text(ids[:count])
    assert detokeniser.text(ids).strip() == (text * 60).strip()
    assert len(ids) > 900
    assert decode.tokens < 25 * len(ids)


def broken_byte(chat_format: ChatFormat) -> int:
    """A token that is the second byte of some character and begins none."""
    return byte_ids(chat_format, "你")[1]


def test_an_answer_of_broken_bytes_only_is_decoded_in_short_windows(chat_format: ChatFormat) -> None:
    ids = [broken_byte(chat_format)] * 400
    decode = Counting(chat_format)
    detokeniser = Detokeniser(decode)
    lengths = [len(detokeniser.text(ids[:count])) for count in range(1, 401)]
    assert lengths == sorted(lengths)
    assert 380 < lengths[-1] <= 400
    assert decode.tokens < 60 * len(ids)


@pytest.mark.parametrize("broken", range(14, 30))
def test_a_whole_character_after_many_broken_bytes_stays_whole(chat_format: ChatFormat, broken: int) -> None:
    ids = [broken_byte(chat_format)] * broken + byte_ids(chat_format, "你🙂 ok")
    steps = texts(chat_format, ids)
    assert steps[-1] == "\ufffd" * broken + "你🙂 ok"
    assert all(steps[-1].startswith(step) for step in steps)


@pytest.mark.parametrize("broken", range(8, 24))
def test_a_slow_reader_sees_a_character_among_broken_bytes_whole(
    chat_format: ChatFormat, broken: int
) -> None:
    ids = [
        *[broken_byte(chat_format)] * broken,
        *byte_ids(chat_format, "你"),
        *[broken_byte(chat_format)] * 2,
    ]
    detokeniser = Detokeniser(lambda window: str(chat_format.tokenizer.decode(window)))
    first = detokeniser.text(ids)
    last = detokeniser.text([*ids, *byte_ids(chat_format, "ok")])
    assert last == "\ufffd" * broken + "你" + "\ufffd" * 2 + "ok"
    assert last.startswith(first)
