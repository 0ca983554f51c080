"""Runs of words by their hashes: equal runs are equal wherever they stand; short, Chinese and empty texts."""

import numpy as np

from training.word_grams import gram_hashes, words_of


def test_words_are_in_lower_case_without_signs() -> None:
    assert words_of("Well, I DON'T know: 42!") == ["well", "i", "don't", "know", "42"]


def test_each_chinese_character_is_a_word() -> None:
    assert words_of("我是 Rapport，你好") == ["我", "是", "rapport", "你", "好"]
    assert len(gram_hashes("你好，我是小模型。", 3)) == 5


def test_a_run_has_the_same_hash_wherever_it_stands() -> None:
    long = gram_hashes("The cat sat on the mat, and the dog sat by the door.", 3)
    short = gram_hashes("ON THE MAT!", 3)
    assert len(long) == 11  # 13 words
    assert np.flatnonzero(long == short[0]).tolist() == [3]


def test_the_order_of_words_counts() -> None:
    assert gram_hashes("dog bites man", 3)[0] != gram_hashes("man bites dog", 3)[0]


def test_a_text_shorter_than_a_run_is_one_run() -> None:
    assert len(gram_hashes("Good morning", 13)) == 1
    assert gram_hashes("Good morning", 13)[0] == gram_hashes("good morning.", 2)[0]


def test_a_text_without_words_has_no_runs() -> None:
    assert gram_hashes("", 3).tolist() == []
    assert gram_hashes("?! …", 3).tolist() == []
