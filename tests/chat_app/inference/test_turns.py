"""Whose turn it is, on a clock that the test sets."""

from dataclasses import dataclass

import pytest

from chat_app.inference.turns import Turns


@dataclass(frozen=True)
class Group:
    asker: str
    number: int = 0
    rows: int = 1
    is_ready: bool = True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock) -> Turns:
    return Turns(clock)


def names(groups: list[Group]) -> list[str]:
    return [f"{group.asker}{group.number}" for group in groups]


def test_people_take_turns_however_many_one_of_them_asks_for(turns: Turns) -> None:
    waiting = [Group("a", 1), Group("a", 2), Group("a", 3), Group("b", 1), Group("c", 1), Group("b", 2)]
    assert names(turns.in_turn(waiting, {})) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_has_rows_running_comes_after_who_has_fewer(turns: Turns) -> None:
    waiting = [Group("a", 1), Group("b", 1), Group("c", 1)]
    assert names(turns.in_turn(waiting, {"a": 2, "b": 1})) == ["c1", "b1", "a1"]


def test_who_was_answered_lately_comes_after_who_was_not(turns: Turns, clock: Clock) -> None:
    waiting = [Group("a", 1), Group("b", 1)]
    turns.note_start("a", 1)
    clock.now += 9
    assert names(turns.in_turn(waiting, {})) == ["b1", "a1"]
    clock.now += 2
    assert names(turns.in_turn(waiting, {})) == ["a1", "b1"]


def test_a_pair_counts_as_two_answers(turns: Turns) -> None:
    waiting = [Group("a", 1, rows=2), Group("a", 2), Group("b", 1), Group("b", 2), Group("b", 3)]
    assert names(turns.in_turn(waiting, {})) == ["a1", "b1", "b2", "a2", "b3"]


def test_a_group_whose_version_is_loading_does_not_count_against_its_asker(turns: Turns) -> None:
    waiting = [Group("a", 1, rows=9, is_ready=False), Group("a", 2), Group("b", 1), Group("b", 2)]
    assert names(turns.in_turn(waiting, {})) == ["a1", "a2", "b1", "b2"]


def test_nobody_starves_while_new_people_keep_coming(turns: Turns, clock: Clock) -> None:
    turns.note_start("regular", 3)
    waiting = [Group("regular", 1)]
    for second in range(60):
        waiting.append(Group(f"new{second}-"))
        first = turns.in_turn(waiting, {})[0]
        if first.asker == "regular":
            break
        waiting.remove(first)
        turns.note_start(first.asker, 1)
        clock.now += 1
    assert second == 10  # the moment that the answers of before are no longer recent


def test_askers_of_long_ago_are_forgotten(turns: Turns, clock: Clock) -> None:
    for number in range(1000):
        turns.note_start(f"visitor {number}", 1)
    clock.now += 11
    turns.in_turn([], {})
    assert turns._starts == {}
