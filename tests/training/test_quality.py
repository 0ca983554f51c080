"""The quality filter: texts like the good ones rank higher, and the draw keeps what the formula says."""

import pytest

from training.quality import is_kept, quality_ranks

GOOD = [
    f"I like {thing} very much, thank you for asking, and what do you like to do with {thing}?"
    for thing in ("music", "books", "dogs", "cats", "food", "films", "walks", "games", "trains", "flowers")
]
CHATTY = [f"Thank you for asking, I like {thing} and you?" for thing in ("tea", "dogs", "food", "art")]
LISTS = [f"{word} cf. vol. pp. ISBN errata addenda index" for word in ("Fig.", "ibid.", "sic", "Tab.")]


def test_raw_texts_like_the_good_ones_rank_higher() -> None:
    ranks = quality_ranks(GOOD, [*LISTS, *CHATTY])
    assert max(ranks[:4]) < min(ranks[4:])


def test_ranks_run_evenly_from_zero_to_one_whatever_the_scores_are() -> None:
    raw = [" ".join(["thank you for asking", *["errata"] * i]) for i in range(5)]
    assert quality_ranks(GOOD, raw).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_equal_texts_share_their_rank() -> None:
    assert quality_ranks(GOOD, ["The same."] * 5).tolist() == [0.5] * 5


@pytest.mark.parametrize(("shape", "share"), [(1.0, 0.5), (2.0, 0.25), (9.0, 0.002)])
def test_at_rank_zero_two_to_the_minus_shape_stay(shape: float, share: float) -> None:
    kept = [is_kept(f"text {i}", 0.0, pareto_shape=shape) for i in range(5000)]
    assert sum(kept) / 5000 == pytest.approx(share, abs=0.02)


def test_in_the_middle_the_share_is_two_thirds_to_the_shape() -> None:
    kept = [is_kept(f"text {i}", 0.5, pareto_shape=2.0) for i in range(5000)]
    assert sum(kept) / 5000 == pytest.approx(0.444, abs=0.02)  # 1.5 ** -2


def test_everything_stays_at_rank_one() -> None:
    assert all(is_kept(f"text {i}", 1.0, pareto_shape=9.0) for i in range(5000))


def test_the_draw_follows_from_the_text_alone() -> None:
    kept = [i for i in range(12) if is_kept(f"text {i}", 0.0, pareto_shape=1.0)]
    assert kept == [3, 6, 7, 10, 11]
