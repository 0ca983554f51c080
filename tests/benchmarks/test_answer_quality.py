"""Loops, repeated prompts and variety, counted on texts where anyone can count along."""

import math

import pytest

from benchmarks.answer_quality import Measured, distinct, loops, quality, repeats, words


def test_words_are_lower_case_without_punctuation_and_chinese_is_cut_into_characters() -> None:
    assert words("I'm OK, it’s 5pm_now!") == ["i'm", "ok", "it's", "5pm", "now"]
    assert words("你好，Rapport吗？") == ["你", "好", "rapport", "吗"]


@pytest.mark.parametrize(
    "text",
    [
        "No, no, no.",
        "so I said so I said so I said it",
        "a b c d e f g h a b c d e f g h a b c d e f g h",
        "I like to eat. Well, I like to eat, and then I like to eat.",
        "很好很好很好",
    ],
)
def test_three_in_a_row_or_the_same_four_words_three_times_is_a_loop(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No, no.",
        "a b a b a",
        "I like to eat. Well, I like to eat, and then I like to sleep.",
        "a b c d e f g h i a b c d e f g h i",
        "I like it, you like it, they like it",
    ],
)
def test_twice_is_no_loop_nor_are_three_words_scattered(text: str) -> None:
    assert not loops(text)


def test_an_answer_that_holds_a_message_of_four_words_repeats_it() -> None:
    assert repeats("Do you like tea?", "You ask: do you like TEA. Yes!")
    assert not repeats("Do you like tea?", "Do you really like tea?")
    assert not repeats("Do you like tea?", "Do you like")


def test_a_shorter_message_is_repeated_only_by_an_answer_that_says_nothing_else() -> None:
    assert repeats("Hi there!", "hi there")
    assert not repeats("Hi there!", "Hi there, friend")
    assert not repeats("?!", "")


def test_distinct_is_the_share_of_different_runs_over_all_answers() -> None:
    assert distinct(["a b a", "b a"], 1) == pytest.approx(2 / 5)
    assert distinct(["a b a", "b a"], 2) == pytest.approx(2 / 3)  # ab, ba, ba; none across answers
    assert math.isnan(distinct(["", "a"], 2))


def test_an_answer_that_loops_and_repeats_counts_once_in_the_sum_of_both() -> None:
    found = quality(
        [
            Measured("a b c d", "a b c d a b c d a b c d", 12, False),
            Measured("a b c d", "no no no", 5, True),
            Measured("a b c d", "a b c d", 5, True),
            Measured("hello", "x y", 2, True),
        ]
    )
    assert (found.answers, found.ended) == (4, 0.75)
    assert (found.looping, found.repeating, found.looping_or_repeating) == (0.5, 0.5, 0.75)
    assert (found.mean_tokens, found.mean_words) == (6.0, 5.25)
    assert found.distinct_1 == pytest.approx(7 / 21)
