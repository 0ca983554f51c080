"""Rankings, their pairs, and the parts of the data that prompts fall in."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.errors import InvalidPrompt, InvalidRanking
from feedback.preference import (
    Message,
    PreferencePair,
    check_ranks,
    is_storable,
    messages_from,
    ordered_pairs,
    prompt_hash,
    prompt_part,
    tied_pairs,
    vote_part,
)


def dense(numbers: list[int]) -> tuple[int, ...]:
    """Any numbers as ranks without gaps."""
    order = sorted(set(numbers))
    return tuple(order.index(number) + 1 for number in numbers)


rankings = st.lists(st.integers(1, 9), min_size=2, max_size=9).map(dense)


def test_the_left_one_preferred_is_one_pair() -> None:
    assert ordered_pairs((1, 2)) == (PreferencePair(chosen=0, rejected=1),)


def test_the_right_one_preferred_is_the_opposite_pair() -> None:
    assert ordered_pairs((2, 1)) == (PreferencePair(chosen=1, rejected=0),)


def test_a_tie_adds_no_ordered_pair() -> None:
    assert ordered_pairs((1, 1)) == ()
    assert tied_pairs((1, 1)) == ((0, 1),)


def test_a_ranking_of_four_with_a_tie_has_five_ordered_pairs() -> None:
    pairs = {(pair.chosen, pair.rejected) for pair in ordered_pairs((2, 1, 3, 2))}
    assert pairs == {(1, 0), (1, 2), (1, 3), (0, 2), (3, 2)}
    assert tied_pairs((2, 1, 3, 2)) == ((0, 3),)


@given(rankings)
def test_every_two_positions_are_one_pair_ordered_or_tied(ranks: tuple[int, ...]) -> None:
    ordered = [frozenset((pair.chosen, pair.rejected)) for pair in ordered_pairs(ranks)]
    tied = [frozenset(pair) for pair in tied_pairs(ranks)]
    k = len(ranks)
    assert len(set(ordered + tied)) == len(ordered + tied) == k * (k - 1) // 2


@given(rankings)
def test_the_chosen_one_always_has_the_better_rank(ranks: tuple[int, ...]) -> None:
    assert all(ranks[pair.chosen] < ranks[pair.rejected] for pair in ordered_pairs(ranks))


@given(rankings)
def test_dense_ranks_are_taken_as_they_are(ranks: tuple[int, ...]) -> None:
    assert check_ranks(list(ranks), len(ranks)) == ranks


@given(st.lists(st.integers(-3, 12), max_size=9), st.integers(2, 9))
def test_what_is_taken_ranks_all_places_from_one_without_a_gap(ranks: list[int], k: int) -> None:
    try:
        taken = check_ranks(ranks, k)
    except InvalidRanking:
        return
    assert len(taken) == k
    assert sorted(set(taken)) == list(range(1, max(taken) + 1))


@pytest.mark.parametrize(
    ("ranks", "k", "said"),
    [
        ([1, 2, 3], 2, r"\[1, 2, 3\] are 3, but 2 completions were shown; give one rank to each"),
        ([], 2, r"\[\] are 0, but 2"),
        ([1, 3], 2, r"\[1, 3\] leave numbers out; give 1 to the best"),
        ([0, 1], 2, "leave numbers out"),
        ([2, 2], 2, "leave numbers out"),
        ([1, 2.0], 2, "not all whole numbers"),
        ([True, 2], 2, "not all whole numbers"),
        (["1", "2"], 2, "not all whole numbers"),
    ],
)
def test_ranks_that_rank_something_else_are_refused(ranks: list[int], k: int, said: str) -> None:
    with pytest.raises(InvalidRanking, match=said):
        check_ranks(ranks, k)


def test_messages_go_to_dictionaries_and_back() -> None:
    dictionaries = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}]
    messages = messages_from(dictionaries)
    assert messages == (Message("system", "Be brief."), Message("user", "你好"))
    assert [message.as_dict() for message in messages] == dictionaries


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"role": "robot", "content": "Hi"}, "role 'robot'; use one of system, user, assistant"),
        ({"role": "user", "content": None}, "content of a user message is None"),
        ({"role": "user"}, "content of a user message is None"),
        ({"role": "user", "content": "a\x00b"}, "NUL characters"),
        ({"role": "user", "content": "\ud83d"}, "halves of characters"),
    ],
)
def test_messages_that_cannot_be_stored_are_refused(message: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidPrompt, match=said):
        messages_from([message])


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_ordinary_text_of_any_language_is_storable(text: str) -> None:
    assert is_storable(text)


def test_the_hash_of_a_prompt_stays_what_it_was() -> None:
    # printf '[["user","Good day?"]]' | sha256sum
    assert prompt_hash([Message("user", "Good day?")]) == (
        "fc01067b00fb4312dd77e3f6348501b69cebd20e2981f6c52ab01568dd526070"
    )


def test_the_hash_is_the_same_for_messages_and_dictionaries() -> None:
    assert prompt_hash([{"role": "user", "content": "Hi"}]) == prompt_hash([Message("user", "Hi")])


def test_the_hash_does_not_tell_how_an_accent_was_typed() -> None:
    assert prompt_hash([Message("user", "caf\u00e9")]) == prompt_hash([Message("user", "cafe\u0301")])


def test_the_hash_tells_roles_and_turns_apart() -> None:
    prompts = [
        [Message("user", "a"), Message("assistant", "b")],
        [Message("assistant", "a"), Message("user", "b")],
        [Message("user", "ab")],
    ]
    assert len({prompt_hash(prompt) for prompt in prompts}) == 3


def test_library_prompts_fall_in_parts_of_forty_forty_and_twenty_percent() -> None:
    parts = Counter(prompt_part(prompt_hash([Message("user", f"Question {n}")])) for n in range(5000))
    assert parts["training"] == pytest.approx(2000, abs=140)  # four standard deviations
    assert parts["ppo"] == pytest.approx(2000, abs=140)
    assert parts["heldout"] == pytest.approx(1000, abs=115)


def test_votes_on_prompts_of_each_part_are_split_eighty_to_twenty() -> None:
    hashes = [prompt_hash([Message("user", f"Question {n}")]) for n in range(5000)]
    for part in ("training", "ppo", "heldout"):
        votes = [vote_part(digest) for digest in hashes if prompt_part(digest) == part]
        assert votes.count("heldout") / len(votes) == pytest.approx(0.2, abs=0.05)


def test_parts_stay_what_they_were() -> None:
    parts = [(prompt_part(digest * 64), vote_part(digest * 64)) for digest in "0369cf"]
    assert parts == [
        ("training", "training"),
        ("training", "training"),
        ("training", "training"),
        ("ppo", "heldout"),
        ("ppo", "training"),
        ("heldout", "heldout"),
    ]
