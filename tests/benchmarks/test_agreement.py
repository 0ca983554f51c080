"""Shares, intervals and kappas against values computed by hand and by scikit-learn."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from benchmarks.agreement import RATINGS, agreement, share_of

GOOD, MIDDLING, BAD = "sensible", "so-so", "nonsense"


def test_fifteen_of_thirty_have_wilsons_interval() -> None:
    found = share_of(GOOD, [[GOOD]] * 15 + [[BAD]] * 15)
    assert (found.share, found.low, found.high) == pytest.approx((0.5, 0.3315, 0.6685), abs=1e-4)
    assert str(found) == "50% (33% to 67%)"


def test_an_answer_that_one_of_two_raters_calls_sensible_counts_one_half() -> None:
    assert share_of(GOOD, [[GOOD, GOOD], [GOOD, MIDDLING], [BAD, BAD], [BAD, MIDDLING]]).share == 0.375


def test_two_raters_of_one_mind_are_no_more_certain_than_one() -> None:
    one = share_of(GOOD, [[GOOD]] * 10 + [[BAD]] * 20)
    assert share_of(GOOD, [[GOOD, GOOD]] * 10 + [[BAD, BAD]] * 20) == one


def test_kappa_of_the_textbook_table_is_two_fifths() -> None:
    """20 and 15 agreed, 5 and 10 not: observed .7, by chance .5."""
    first = [GOOD] * 25 + [BAD] * 25
    second = [GOOD] * 20 + [BAD] * 5 + [GOOD] * 10 + [BAD] * 15
    found = agreement(first, second)
    assert (found.answers, found.raw) == (50, 0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.weighted_kappa == pytest.approx(0.4)


def test_the_weighted_kappa_counts_one_step_half() -> None:
    # observed (½ + ½ + 1)/4; each rater 2 good, 1 middling, 1 bad, so by chance (4 · ½ + 4 · 1 + 2 · ½)/16
    found = agreement([GOOD, GOOD, MIDDLING, BAD], [GOOD, MIDDLING, BAD, GOOD])
    assert found.raw == 0.25
    assert found.weighted_kappa == pytest.approx(1 - (2 / 4) / (7 / 16))


def test_raters_who_always_say_the_same_word_leave_kappa_open() -> None:
    found = agreement([GOOD] * 3, [GOOD] * 3)
    assert found.raw == 1.0
    assert (found.kappa, found.weighted_kappa) == (None, None)


def test_kappas_are_those_of_scikit_learn() -> None:
    random_ = random.Random(0)
    first = random_.choices(RATINGS, [1, 2, 3], k=200)
    second = [one if random_.random() < 0.6 else random_.choice(RATINGS) for one in first]
    found = agreement(first, second)
    numbers = [[RATINGS.index(one) for one in ratings] for ratings in (first, second)]
    assert found.kappa == pytest.approx(cohen_kappa_score(*numbers))
    assert found.weighted_kappa == pytest.approx(cohen_kappa_score(*numbers, weights="linear"))
