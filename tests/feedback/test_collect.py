"""Asking and answering: what counts once, what supersedes what, and what is refused."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from db.engine import Database
from db.queries.comparisons import comparison_with_completions
from db.queries.preferences import current_preferences
from db.tables import Comparison, Preference
from feedback.collect import Answer, answer_comparison, open_comparison
from feedback.errors import (
    ComparisonNotFound,
    ComparisonSuperseded,
    FeedbackError,
    IdempotencyKeyReused,
    InvalidAnswer,
    InvalidComparison,
    InvalidPrompt,
    InvalidRanking,
    NotYourComparison,
)
from feedback.preference import Message
from tests.factories import make_comparison, make_completion, make_message, make_user, make_vote

LEFT = Answer(ranks=(1, 2), idempotency_key="key")


def open_one(database: Database, **details: Any) -> Comparison:
    """A comparison of its own person, committed."""
    with database.write() as session:
        return make_comparison(session=session, user_id=make_user(session=session).id, **details)


def answer(
    database: Database, comparison: Comparison, given: Answer, user_id: int | None = None
) -> Preference:
    with database.write() as session:
        return answer_comparison(
            session=session,
            user_id=user_id or comparison.user_id,
            comparison_id=comparison.id,
            answer=given,
        )


def stored(database: Database) -> list[Preference]:
    with database.read() as session:
        return list(session.scalars(select(Preference).order_by(Preference.id)))


def current(database: Database) -> list[Preference]:
    with database.read() as session:
        return current_preferences(session=session)


def test_a_comparison_keeps_its_prompt_and_the_order_shown(database: Database) -> None:
    opened = open_one(database, prompt="你好？", texts=("zwei", "eins", "drei"))
    with database.read() as session:
        comparison = comparison_with_completions(session=session, comparison_id=opened.id)
    assert comparison is not None
    assert comparison.prompt == [{"role": "user", "content": "你好？"}]
    assert [shown.completion.text for shown in comparison.shown] == ["zwei", "eins", "drei"]


def test_an_answer_is_stored_with_all_that_was_said(database: Database) -> None:
    comparison = open_one(database)
    given = Answer(
        ranks=(1, 1),
        idempotency_key="k",
        is_both_bad=True,
        criteria={"helpful": [2, 3]},
        comment="Beide schlecht 😀",
        seconds=3.5,
    )
    answer(database, comparison, given)
    (preference,) = stored(database)
    assert preference.ranks == [1, 1]
    assert preference.is_both_bad is True
    assert preference.criteria == {"helpful": [2, 3]}
    assert preference.comment == "Beide schlecht 😀"
    assert preference.seconds == 3.5
    assert preference.after_reveal is False
    assert preference.supersedes_id is None


def test_the_same_key_again_gives_the_first_success_again(database: Database) -> None:
    comparison = open_one(database)
    first = answer(database, comparison, LEFT)
    again = answer(database, comparison, replace(LEFT, ranks=(2, 1)))
    assert again.id == first.id
    assert again.ranks == [1, 2]
    assert len(stored(database)) == 1


def test_a_new_key_supersedes_and_is_marked_as_after_the_reveal(database: Database) -> None:
    comparison = open_one(database)
    first = answer(database, comparison, LEFT)
    second = answer(database, comparison, Answer(ranks=(2, 1), idempotency_key="second"))
    third = answer(database, comparison, Answer(ranks=(1, 1), idempotency_key="third"))
    assert (second.supersedes_id, second.after_reveal) == (first.id, True)
    assert (third.supersedes_id, third.after_reveal) == (second.id, True)
    assert [preference.id for preference in current(database)] == [third.id]


def test_a_retry_of_a_superseded_answer_gives_that_answer_and_changes_nothing(database: Database) -> None:
    comparison = open_one(database)
    first = answer(database, comparison, LEFT)
    second = answer(database, comparison, Answer(ranks=(2, 1), idempotency_key="second"))
    assert answer(database, comparison, LEFT).id == first.id
    assert [preference.id for preference in current(database)] == [second.id]


def test_two_people_may_use_the_same_key(database: Database) -> None:
    answer(database, open_one(database), LEFT)
    answer(database, open_one(database), LEFT)
    assert len(stored(database)) == 2


def test_a_key_of_another_comparison_is_refused(database: Database) -> None:
    first = open_one(database)
    answer(database, first, LEFT)
    with database.write() as session:
        second = make_comparison(session=session, user_id=first.user_id)
    with pytest.raises(IdempotencyKeyReused, match=f"your answer to comparison {first.id}. Make a new key"):
        answer(database, second, LEFT)


def test_an_unknown_comparison_cannot_be_answered(database: Database) -> None:
    with database.write() as session:
        user = make_user(session=session)
    with pytest.raises(ComparisonNotFound, match="no comparison 41"), database.write() as session:
        answer_comparison(session=session, user_id=user.id, comparison_id=41, answer=LEFT)


def test_another_persons_comparison_cannot_be_answered(database: Database) -> None:
    comparison = open_one(database)
    with database.write() as session:
        other = make_user(session=session)
    with pytest.raises(NotYourComparison, match="shown to another person"):
        answer(database, comparison, LEFT, user_id=other.id)
    assert stored(database) == []


def test_a_new_comparison_below_a_message_supersedes_the_open_one(database: Database) -> None:
    with database.write() as session:
        user = make_user(session=session)
        message = make_message(session=session, user_id=user.id)
        old = make_comparison(session=session, user_id=user.id, parent_message_id=message.id)
        new = make_comparison(session=session, user_id=user.id, parent_message_id=message.id)
    with pytest.raises(ComparisonSuperseded, match=f"{old.id} was replaced by comparison {new.id}"):
        answer(database, old, LEFT)
    assert answer(database, new, LEFT).comparison_id == new.id


def test_each_open_comparison_below_a_message_is_superseded_by_the_next(database: Database) -> None:
    with database.write() as session:
        user = make_user(session=session)
        message = make_message(session=session, user_id=user.id)
        for _ in range(3):
            make_comparison(session=session, user_id=user.id, parent_message_id=message.id)
    with database.read() as session:
        assert session.scalars(select(Comparison.superseded_by_id).order_by(Comparison.id)).all() == [
            2,
            3,
            None,
        ]


def test_an_answered_comparison_is_not_superseded(database: Database) -> None:
    with database.write() as session:
        user = make_user(session=session)
        message = make_message(session=session, user_id=user.id)
        answered = make_comparison(session=session, user_id=user.id, parent_message_id=message.id)
        make_vote(session=session, comparison=answered)
        make_comparison(session=session, user_id=user.id, parent_message_id=message.id)
    assert answer(database, answered, LEFT).after_reveal is True


def test_comparisons_without_a_message_do_not_supersede_each_other(database: Database) -> None:
    with database.write() as session:
        user = make_user(session=session)
        comparisons = [make_comparison(session=session, user_id=user.id, source="api") for _ in range(2)]
    assert [comparison.superseded_by_id for comparison in comparisons] == [None, None]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (Answer(ranks=(1, 2, 3), idempotency_key="k"), InvalidRanking, "but 2 completions were shown"),
        (Answer(ranks=(1, 3), idempotency_key="k"), InvalidRanking, "leave numbers out"),
        (
            Answer(ranks=(1, 2), is_both_bad=True, idempotency_key="k"),
            InvalidRanking,
            r"give equal ranks \[1, 1\]",
        ),
        (Answer(ranks=(1, 2), idempotency_key=" "), InvalidAnswer, "idempotency key ' ' is not usable"),
        (Answer(ranks=(1, 2), idempotency_key="k" * 81), InvalidAnswer, "give 1 to 80 characters"),
        (Answer(ranks=(1, 2), idempotency_key="\x00"), InvalidAnswer, "is not usable"),
        (replace(LEFT, comment="x" * 4001), InvalidAnswer, "4,001 characters; shorten it to 4,000"),
        (replace(LEFT, comment="a\x00b"), InvalidAnswer, "NUL characters"),
        (replace(LEFT, seconds=-1.0), InvalidAnswer, "seconds taken are -1.0"),
        (replace(LEFT, seconds=float("nan")), InvalidAnswer, "seconds taken are nan"),
        (replace(LEFT, criteria={"helpful": float("inf")}), InvalidAnswer, "not plain JSON"),
        (replace(LEFT, criteria={"helpful": "x" * 4000}), InvalidAnswer, "keep them to 4,000"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused_and_not_stored(
    sqlite_database: Database, given: Answer, error: type[FeedbackError], said: str
) -> None:
    comparison = open_one(sqlite_database)
    with pytest.raises(error, match=said):
        answer(sqlite_database, comparison, given)
    assert stored(sqlite_database) == []


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ((), "has no messages"),
        ((Message("user", "Hi"), Message("assistant", "Hello")), "ends with a message of role 'assistant'"),
        ((Message("user", " \n"),), "last message of the prompt is empty"),
        ((Message("system", "\x00"), Message("user", "Hi")), "NUL characters"),
    ],
)
def test_a_prompt_that_asks_nothing_is_refused(
    sqlite_database: Database, prompt: tuple[Message, ...], said: str
) -> None:
    with sqlite_database.write() as session, pytest.raises(InvalidPrompt, match=said):
        open_comparison(session=session, user_id=1, source="api", prompt=prompt, completion_ids=[1, 2])


def compare(database: Database, completion_ids: list[int]) -> None:
    with database.write() as session:
        for _ in range(10):
            make_completion(session=session)
        user = make_user(session=session)
        prompt = (Message("user", "Hi"),)
        open_comparison(
            session=session, user_id=user.id, source="api", prompt=prompt, completion_ids=completion_ids
        )


def test_two_to_nine_completions_can_be_compared(sqlite_database: Database) -> None:
    compare(sqlite_database, [2, 1])
    compare(sqlite_database, list(range(1, 10)))


@pytest.mark.parametrize(
    ("completion_ids", "said"),
    [
        ([1], "of 1 completions is not possible; show 2 to 9"),
        (list(range(1, 11)), "of 10 completions"),
        ([3, 3], "hold one twice"),
        ([1, 77, 66], r"no completions \[66, 77\]"),
    ],
)
def test_other_completions_cannot_be_compared(
    sqlite_database: Database, completion_ids: list[int], said: str
) -> None:
    with pytest.raises(InvalidComparison, match=said):
        compare(sqlite_database, completion_ids)


def at_once(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the actions in threads that start together; give their results or their errors, in order."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = actions[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_vote_sent_ten_times_at_once_is_one_row(database: Database) -> None:
    comparison = open_one(database)
    results = at_once([partial(answer, database, comparison, LEFT)] * 10)
    assert [result.id for result in results] == [stored(database)[0].id] * 10
    assert len(stored(database)) == 1


def test_different_votes_at_once_form_one_chain(database: Database) -> None:
    comparison = open_one(database)
    votes = [replace(LEFT, idempotency_key=f"key {number}") for number in range(10)]
    results = at_once([partial(answer, database, comparison, vote) for vote in votes])
    ids = [preference.id for preference in stored(database)]
    assert sorted(result.id for result in results) == ids
    assert [preference.supersedes_id for preference in stored(database)] == [None, *ids[:-1]]
    assert [preference.id for preference in current(database)] == ids[-1:]


def test_one_key_for_two_comparisons_at_once_answers_one_of_them(database: Database) -> None:
    first = open_one(database)
    with database.write() as session:
        second = make_comparison(session=session, user_id=first.user_id)
    results = at_once([partial(answer, database, comparison, LEFT) for comparison in (first, second)])
    assert {type(result) for result in results} == {Preference, IdempotencyKeyReused}
    assert len(stored(database)) == 1


def test_a_vote_and_a_newer_comparison_at_once_never_lose_the_vote(database: Database) -> None:
    for _ in range(5):
        with database.write() as session:
            user = make_user(session=session)
            message = make_message(session=session, user_id=user.id)
            old = make_comparison(session=session, user_id=user.id, parent_message_id=message.id)

        def renew(user_id: int = user.id, message_id: int = message.id) -> int:
            with database.write() as session:
                return make_comparison(session=session, user_id=user_id, parent_message_id=message_id).id

        vote, new_id = at_once([partial(answer, database, old, LEFT), renew])
        with database.read() as session:
            superseded_by = session.get_one(Comparison, old.id).superseded_by_id
        if isinstance(vote, Preference):
            assert superseded_by is None
        else:
            assert isinstance(vote, ComparisonSuperseded)
            assert superseded_by == new_id
