"""Kneser-Ney: values computed by hand, distributions that sum to one, and a plain recursive definition beside it."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.ngram import KneserNey, discounts

A, B, C, D = range(4)
VOCABULARY = 4


def probability(model: KneserNey, *tokens: int) -> float:
    """Of the last token, after the others."""
    return float(model.probabilities(np.array(tokens))[-1])


@pytest.fixture
def bigrams() -> KneserNey:
    """Of "a b a b c": ab twice, ba and bc once; each of a, b, c has one token before it, d was never seen."""
    return KneserNey.fit(np.array([A, B, A, B, C]), vocab_size=VOCABULARY, order=2)


def test_a_token_without_context_counts_the_tokens_seen_before_it(bigrams: KneserNey) -> None:
    # (1 − ½)/3 + ½ · ¼, and ½ · ¼ for the token never seen
    assert probability(bigrams, A) == pytest.approx(7 / 24)
    assert probability(bigrams, D) == pytest.approx(1 / 8)


def test_a_bigram_seen_once_loses_one_half_and_one_seen_twice_loses_one(bigrams: KneserNey) -> None:
    assert probability(bigrams, B, A) == pytest.approx(19 / 48)  # (1 − ½)/2 + ½ · 7/24
    assert probability(bigrams, A, B) == pytest.approx(31 / 48)  # (2 − 1)/2 + ½ · 7/24
    assert probability(bigrams, B, B) == pytest.approx(7 / 48)


def test_a_context_never_continued_or_never_seen_says_what_no_context_says(bigrams: KneserNey) -> None:
    assert probability(bigrams, C, A) == pytest.approx(7 / 24)
    assert probability(bigrams, D, A) == pytest.approx(7 / 24)


def test_trigrams_rest_on_how_many_tokens_came_before_a_bigram() -> None:
    model = KneserNey.fit(np.array([A, B, A, B, C]), vocab_size=VOCABULARY, order=3)
    assert probability(model, A, B, A) == pytest.approx(43 / 96)  # ¼ + ½ · 19/48
    assert probability(model, C, B, A) == pytest.approx(19 / 48)  # cb was never seen


def test_a_token_that_only_begins_the_text_has_nothing_before_it_and_keeps_the_uniform_share() -> None:
    model = KneserNey.fit(np.array([D, A, B]), vocab_size=VOCABULARY, order=2)
    assert probability(model, D) == pytest.approx(1 / 8)
    assert probability(model, A) == pytest.approx(3 / 8)


def test_every_place_of_a_stream_is_predicted_from_the_tokens_before_it_alone() -> None:
    model = KneserNey.fit(np.array([A, B, A, B, C]), vocab_size=VOCABULARY, order=2)
    found = model.probabilities(np.array([A, B, A, C]))
    assert found == pytest.approx([7 / 24, 31 / 48, 19 / 48, 7 / 48])


@pytest.mark.parametrize("context", [[], [0], [3, 1], [1, 2, 3, 4], [9, 9, 9, 9], [0, 9, 1, 2]])
def test_probabilities_sum_to_one_after_any_context(context: list[int]) -> None:
    stream = np.random.default_rng(0).integers(0, 9, size=3000) ** 2 // 9  # uneven; 8 and 9 are never seen
    model = KneserNey.fit(stream, vocab_size=10, order=5)
    total = sum(probability(model, *context, token) for token in range(10))
    assert total == pytest.approx(1)


def test_discounts_follow_from_the_counts_of_counts() -> None:
    counts = np.array([1] * 10 + [2] * 4 + [3] * 2 + [4] + [9])
    # Y = 10/18; 1 − 2Y·4/10, 2 − 3Y·2/4, 3 − 4Y·1/2
    assert discounts(counts) == pytest.approx([0, 5 / 9, 7 / 6, 17 / 9])


def test_discounts_that_too_little_text_leaves_open_are_one_half_one_and_one_and_a_half() -> None:
    assert discounts(np.array([1, 1, 2])).tolist() == [0, 0.5, 1, 1.5]
    # many more twos than ones would give back more than was counted
    assert discounts(np.array([1] + [2] * 2 + [3] * 40)).tolist() == [0, 0.5, 1, 1.5]


def test_sorted_arrays_give_what_the_recursive_definition_gives() -> None:
    random = np.random.default_rng(1)
    stream = np.minimum(random.geometric(0.35, size=2000) - 1, 6)
    model = KneserNey.fit(stream, vocab_size=8, order=4)
    for _ in range(50):
        history = random.integers(0, 8, size=4).tolist()
        expected = recursive(stream.tolist(), history, order=4, vocabulary=8)
        assert probability(model, *history) == pytest.approx(expected)


def test_ids_outside_the_vocabulary_and_too_short_a_text_are_refused() -> None:
    with pytest.raises(ValueError, match="run from 0 to 4; a vocabulary of 4"):
        KneserNey.fit(np.array([0, 4, 1, 2, 3]), vocab_size=4, order=2)
    with pytest.raises(ValueError, match="3 tokens are too few for n-grams of 5"):
        KneserNey.fit(np.array([0, 1, 2]), vocab_size=4, order=5)


def recursive(stream: Sequence[int], history: Sequence[int], *, order: int, vocabulary: int) -> float:
    """p(last | others) straight from the definition, with dictionaries of tuples."""
    grams = [Counter(zip(*(stream[i:] for i in range(n)), strict=False)) for n in range(1, order + 1)]
    counts: list[dict[tuple[int, ...], int]] = [dict(grams[-1])]
    for longer in reversed(grams[1:]):
        before: dict[tuple[int, ...], int] = defaultdict(int)
        for gram in longer:
            before[gram[1:]] += 1
        counts.insert(0, before)
    chance = 1 / vocabulary
    for n in range(1, order + 1):
        context, table = tuple(history[len(history) - n : -1]), counts[n - 1]
        taken = discounts(np.array(list(table.values())))
        followers = {gram[-1]: count for gram, count in table.items() if gram[:-1] == context}
        if not followers:
            continue
        total = sum(followers.values())
        rest = sum(taken[min(count, 3)] for count in followers.values()) / total
        own = followers.get(history[-1], 0)
        chance = (own - taken[min(own, 3)]) / total + rest * chance
    return chance
