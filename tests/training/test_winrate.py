"""Win rate: intervals against computations of others, and two tiny models that answer the same prompts."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from tests.tiny_model import make_tiny_model
from training.generation import DecodingParameters
from training.labellers import Prompt
from training.loading import load_language_model
from training.winrate import (
    Contest,
    Contestant,
    WinRateError,
    answer_all,
    distinct_2,
    sample_prompts,
    wilson_interval,
    win_rate,
)

PROMPTS: list[Prompt] = [
    [{"role": "user", "content": text}] for text in ("Hello!", "How are you?", "I like tea.", "Why?", "Yes.")
]


def length(_prompt: Prompt, text: str) -> float:
    return float(len(text))


def contest(**changes: object) -> Contest:
    parameters = DecodingParameters(max_new_tokens=8)
    values = {"prompts": PROMPTS, "labeller": length, "labeller_name": "length", "parameters": parameters}
    return Contest(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Contestant:
    folder = make_tiny_model(tmp_path_factory.mktemp("a") / "m", seed=1)
    return Contestant("a", load_language_model(folder))


@pytest.fixture(scope="module")
def b(tmp_path_factory: pytest.TempPathFactory) -> Contestant:
    folder: Path = make_tiny_model(tmp_path_factory.mktemp("b") / "m", seed=2)
    return Contestant("b", load_language_model(folder))


@pytest.mark.parametrize(("wins", "losses"), [(60, 40), (199, 1), (3, 7), (200, 0)])
def test_without_ties_the_interval_is_wilsons(wins: int, losses: int) -> None:
    low, high = wilson_interval([1.0] * wins + [0.0] * losses)
    expected = binomtest(wins, wins + losses).proportion_ci(0.95, method="wilson")
    assert low == pytest.approx(expected.low)
    assert high == pytest.approx(expected.high)


def test_ties_make_the_interval_narrower_but_not_empty() -> None:
    decided = wilson_interval([1.0] * 55 + [0.0] * 45)
    tied = wilson_interval([1.0] * 10 + [0.5] * 90)
    assert tied[0] > decided[0]
    assert tied[1] - tied[0] < decided[1] - decided[0]
    assert 0.5 < tied[0] < 0.55 < tied[1]


def test_all_ties_are_one_half_with_an_interval_around_it() -> None:
    low, high = wilson_interval([0.5] * 100)
    assert low < 0.5 < high


def test_a_version_against_itself_is_all_ties(a: Contestant) -> None:
    result = win_rate(a, Contestant("again", a.loaded), contest())
    assert (result.rate, result.ties, result.is_better) == (0.5, 5, False)


def test_wins_ties_and_losses_add_up_and_the_other_way_round_is_the_rest(
    a: Contestant, b: Contestant
) -> None:
    one, other = win_rate(a, b, contest()), win_rate(b, a, contest())
    assert one.wins + one.ties + one.losses == 5
    assert one.rate == pytest.approx((one.wins + one.ties / 2) / 5)
    assert one.rate + other.rate == pytest.approx(1.0)
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.style_a == other.style_b


def test_the_same_seed_gives_the_same_answers_and_another_seed_others(a: Contestant) -> None:
    assert answer_all(a, contest()).texts == answer_all(a, contest()).texts
    assert answer_all(a, contest()).texts != answer_all(a, contest(seed=1)).texts


def test_the_best_of_many_is_no_worse_than_one(a: Contestant) -> None:
    best = answer_all(Contestant("best", a.loaded, best_of=8), contest())
    assert len(best.scores) == 5
    assert sum(best.scores) > sum(answer_all(a, contest()).scores)
    assert best.scores == [float(len(text)) for text in best.texts]


def test_distinct_2_counts_different_word_pairs() -> None:
    assert distinct_2(["a b a b", "a b"]) == pytest.approx(2 / 4)
    assert distinct_2(["one", ""]) == 0.0


def test_prompts_are_drawn_without_repeats_and_too_many_are_refused() -> None:
    assert sample_prompts(PROMPTS, 5, 0) != PROMPTS
    assert sorted(map(str, sample_prompts(PROMPTS, 5, 0))) == sorted(map(str, PROMPTS))
    with pytest.raises(WinRateError, match="6 prompts were asked for, and 5 are held out"):
        sample_prompts(PROMPTS, 6, 0)


def test_without_prompts_there_is_no_win_rate(a: Contestant) -> None:
    with pytest.raises(WinRateError, match="no held-out prompts"):
        win_rate(a, a, contest(prompts=[]))
