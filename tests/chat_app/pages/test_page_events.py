"""What the browser sends with a click is checked before anything is done with it."""

import pytest

from chat_app.errors import InvalidInput
from chat_app.pages.page_events import answer_choice, event_id, event_text, event_vote, whole
from chat_app.services.choice import AS_SERVED, AnswerChoice
from chat_app.words import EN, ZH

VOTE = {"comparison": "12", "choice": "left", "key": "abc", "seconds": 3.5}


def test_who_answers_and_after_which_examples_is_read() -> None:
    assert answer_choice(0, "zero-shot", EN) == AS_SERVED
    assert answer_choice(7.0, "zero-shot", ZH) == AnswerChoice(version_id=7)
    assert answer_choice(0, "few-shot", EN) == AnswerChoice(examples="en")
    assert answer_choice(7, "few-shot", ZH) == AnswerChoice(version_id=7, examples="zh")


@pytest.mark.parametrize(
    ("version", "context"),
    [(-1, "zero-shot"), (1.5, "zero-shot"), ("1", "zero-shot"), (None, "few-shot"), (0, "en"), (0, None)],
)
def test_a_forged_choice_is_refused(version: object, context: object) -> None:
    with pytest.raises(InvalidInput, match=r"Reload the page"):
        answer_choice(version, context, EN)


def test_a_click_on_a_vote_button_is_read() -> None:
    click = event_vote(VOTE)
    assert (click.comparison_id, click.choice, click.key, click.seconds) == (12, "left", "abc", 3.5)


@pytest.mark.parametrize(
    "change",
    [
        {"comparison": ""},
        {"comparison": "1; drop table"},
        {"choice": "best"},
        {"choice": None},
        {"key": ""},
        {"key": "k" * 81},
        {"key": 5},
    ],
)
def test_a_forged_vote_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        event_vote(VOTE | change)


@pytest.mark.parametrize("seconds", [None, -1, "3", True, float("nan"), 1e9])
def test_impossible_seconds_are_not_kept(seconds: object) -> None:
    assert event_vote(VOTE | {"seconds": seconds}).seconds is None


@pytest.mark.parametrize("data", [None, [], "text", {}, {"id": "x"}, {"id": None}])
def test_data_without_an_id_is_refused(data: object) -> None:
    with pytest.raises(InvalidInput):
        event_id(data)
    with pytest.raises(InvalidInput):
        event_text(data, "text")


def test_a_hidden_number_is_an_id_only_when_it_is_whole() -> None:
    assert (whole(12.0), whole(7), whole(None), whole("9"), whole(1.5)) == (12, 7, None, None, None)
    assert whole(float("nan")) is None
    assert whole(float("inf")) is None
