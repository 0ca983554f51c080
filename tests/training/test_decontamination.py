"""What a model is tested on stays out of training: runs of thirteen words, short openings, and how tests are read."""

import json
from pathlib import Path

import pytest

from training.decontamination import KeepOut, KeepOutError, overlapping, read_keep_out

THIRTEEN = "my old dog likes to sleep under the big tree behind our house"


def keep_out_file(path: Path, *records: object) -> Path:
    path.write_text(
        "\n".join(
            record if isinstance(record, str) else json.dumps(record, ensure_ascii=False)
            for record in records
        ),
        encoding="utf-8",
    )
    return path


def test_thirteen_words_in_a_row_give_a_test_away() -> None:
    tests = KeepOut([THIRTEEN])
    assert tests.shares_a_run(f"Listen: {THIRTEEN.upper()}, every day.")
    assert not tests.shares_a_run(THIRTEEN.replace("tree", "bush"))


def test_twelve_words_in_a_row_give_nothing_away() -> None:
    tests = KeepOut([f"{THIRTEEN} and by the lake"])
    assert not tests.shares_a_run(THIRTEEN.removeprefix("my "))  # the last twelve of the thirteen


def test_a_short_test_text_counts_where_it_is_a_whole_opening() -> None:
    tests = KeepOut(["How are you?", "🙂"])
    assert tests.contaminates("how are you", "how are you\nFine.")
    assert tests.contaminates("🙂", "🙂\nHello.")
    assert not tests.contaminates("Hello. How are you?", "Hello. How are you?\nFine.")
    assert not tests.contaminates("🙁", "🙁\nOh.")


def test_nothing_kept_out_contaminates_nothing() -> None:
    assert not KeepOut().contaminates("Hi", THIRTEEN)


def test_a_run_in_more_than_ten_documents_is_a_stock_phrase() -> None:
    tests = KeepOut([THIRTEEN])
    documents = [f"Number {i}: {THIRTEEN}." for i in range(11)]
    assert overlapping(documents[:10], tests) == [True] * 10
    assert overlapping(documents, tests) == [False] * 11
    assert overlapping(["Something else.", documents[0]], tests) == [False, True]


def test_messages_turns_and_texts_are_read_and_other_parts_are_not(tmp_path: Path) -> None:
    path = keep_out_file(
        tmp_path / "tests.jsonl",
        {"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Hey"}]},
        {"user_turns": ["Tell me a joke", "Another one"]},
        {"text": "Is it raining?", "part": "heldout"},
        {"text": "What is your name?", "part": "training"},
        "",
    )
    tests = read_keep_out([path])
    tested = ["hi there", "tell me a joke", "another one", "is it raining"]
    assert [tests.contaminates(text, text) for text in tested] == [True] * 4
    assert [tests.contaminates(text, text) for text in ("hey", "what is your name")] == [False, False]


def test_several_files_are_kept_out_together(tmp_path: Path) -> None:
    paths = [keep_out_file(tmp_path / f"{word}.jsonl", {"text": word}) for word in ("cat", "dog")]
    tests = read_keep_out(paths)
    assert tests.contaminates("Cat", "Cat")
    assert tests.contaminates("Dog", "Dog")


def test_a_separator_of_unicode_within_a_text_does_not_end_its_line(tmp_path: Path) -> None:
    path = keep_out_file(tmp_path / "tests.jsonl", {"text": "one\u2028two"}, {"text": "three"})
    assert read_keep_out([path]).contaminates("one two", "one two")


@pytest.mark.parametrize(
    "record", ["{broken", "[1]", {"question": "Hi"}, {"text": 7}, {"user_turns": "Hi"}, {"messages": ["Hi"]}]
)
def test_a_bad_record_is_named_by_file_and_line(tmp_path: Path, record: object) -> None:
    path = keep_out_file(tmp_path / "tests.jsonl", {"text": "Hi"}, record)
    with pytest.raises(KeepOutError, match=r'tests\.jsonl:2 is not a test text\. A record needs "messages"'):
        read_keep_out([path])


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeepOutError, match=r"gone\.jsonl cannot be read .*Correct the path"):
        read_keep_out([tmp_path / "gone.jsonl"])
    (tmp_path / "latin.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(KeepOutError, match=r"latin\.jsonl cannot be read"):
        read_keep_out([tmp_path / "latin.jsonl"])
