"""Stop strings: where they are found, and what of a growing text may be shown."""

from itertools import pairwise

import pytest

from chat_app.inference.stop_strings import FoundStop, StopStrings


def test_the_stop_string_that_begins_first_is_found() -> None:
    stops = StopStrings(["END", "\n"])
    assert stops.find("one\ntwo END") == FoundStop(3, "\n")
    assert stops.find("one EN") is None


def test_nothing_that_may_become_a_stop_string_is_shown() -> None:
    stops = StopStrings(["END", "NDX"])
    texts = ["a", "aE", "aEN", "aENo", "aENo E", "aENo EN", "aENo END and"]
    assert [stops.shown(text) for text in texts] == ["a", "a", "a", "aENo", "aENo ", "aENo ", "aENo "]


@pytest.mark.parametrize("text", ["abcabcabd", "ababababd", "aaaabcabdz", "xabcabdxabd"])
def test_what_is_shown_only_grows_and_holds_no_stop_string(text: str) -> None:
    stops = StopStrings(["abd", "cabd"])
    shown = [stops.shown(text[:length]) for length in range(len(text) + 1)]
    assert all(later.startswith(earlier) for earlier, later in pairwise(shown))
    assert "abd" not in shown[-1]


def test_without_stop_strings_a_text_passes_as_it_is() -> None:
    assert StopStrings().shown("anything\n") == "anything\n"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stop string is empty"):
        StopStrings(["a", ""])
