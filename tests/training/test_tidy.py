"""Cleaning of text: one form for all of it, and casual chat with capitals, apostrophes and full stops."""

import pytest

from training.tidy import duplicate_key, normalise, tidy_chat, untidy_chat


@pytest.mark.parametrize(
    ("typed", "clean"),
    [
        ("i dont know. do you", "I don't know. Do you?"),
        ("Thats  horrible .", "That's horrible."),
        ("yes i'm sure!!!", "Yes I'm sure!"),
        ("what do you think", "What do you think?"),
        ("I like it.It is fun", "I like it. It is fun."),
        ("She was ill and i stayed", "She was ill and I stayed."),
        ("id love to go", "I'd love to go."),
        ("Well......", "Well..."),
        ("Visit 3.5 stars", "Visit 3.5 stars."),
    ],
)
def test_casual_chat_is_spelt_properly(typed: str, clean: str) -> None:
    assert tidy_chat(typed) == clean


def test_text_gets_one_unicode_form_and_line_end() -> None:
    assert normalise("cafe\u0301 \u201cx\u201d\r\n\r\n\r\n\tb\u00a0 c ") == 'café "x"\n\nb c'


def test_texts_that_differ_in_marks_and_case_share_a_duplicate_key() -> None:
    assert duplicate_key("Hello, World!") == duplicate_key("hello world") != duplicate_key("hello word")


def test_a_message_typed_in_a_hurry_has_no_capitals_and_no_mark_at_its_end() -> None:
    assert untidy_chat("What is your Name?") == "what is your name"
    assert untidy_chat("Well, hello! Nice day...") == "well, hello! nice day"
    assert untidy_chat("???") == "???"
