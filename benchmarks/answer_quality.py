"""What can be counted in an answer without reading it: does it loop, repeat the prompt, vary, end?

A word is a run of letters and digits in lower case; of Chinese, each character.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_CHINESE = "\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_CHINESE}]|(?:(?![{_CHINESE}])[^\W_])+(?:['’](?:(?![{_CHINESE}])[^\W_])+)*")

LONGEST_RUN = 8  # words
TIMES = 3
REPEATED_WORDS = 4  # a shorter message may well occur in a good answer


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares and means over a set of answers; `distinct_1` and `distinct_2` over all their words together."""

    answers: int
    ended: float
    looping: float
    repeating: float
    looping_or_repeating: float
    distinct_1: float
    distinct_2: float
    mean_tokens: float
    mean_words: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer with the message that it answers, its length in tokens, and whether it ended by itself."""

    message: str
    text: str
    tokens: int
    is_ended: bool


def words(text: str) -> list[str]:
    """Cut a text into words."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


def loops(text: str) -> bool:
    """Whether a run of 1 to 8 words comes three times in a row, or any four words in a row come three times."""
    found = words(text)
    fours = Counter(zip(found, found[1:], found[2:], found[3:], strict=False))
    if any(times >= TIMES for times in fours.values()):
        return True
    return any(_runs_on(found, length) for length in range(1, LONGEST_RUN + 1))


def repeats(message: str, text: str) -> bool:
    """Whether an answer equals the message it answers, or holds all of it where that is four words or more."""
    asked, found = words(message), words(text)
    if len(asked) < REPEATED_WORDS:
        return bool(asked) and found == asked
    return any(found[i : i + len(asked)] == asked for i in range(len(found) - len(asked) + 1))


def distinct(texts: Sequence[str], length: int) -> float:
    """The share of different ones among all runs of `length` words (Li et al. 2016); NaN where there are none."""
    runs = [
        run for text in texts for run in zip(*(words(text)[start:] for start in range(length)), strict=False)
    ]
    return len(set(runs)) / len(runs) if runs else math.nan


def quality(answers: Sequence[Measured]) -> Quality:
    """Count over at least one answer."""
    looping = [loops(one.text) for one in answers]
    repeating = [repeats(one.message, one.text) for one in answers]
    texts = [one.text for one in answers]
    return Quality(
        answers=len(answers),
        ended=_mean([one.is_ended for one in answers]),
        looping=_mean(looping),
        repeating=_mean(repeating),
        looping_or_repeating=_mean([a or b for a, b in zip(looping, repeating, strict=True)]),
        distinct_1=distinct(texts, 1),
        distinct_2=distinct(texts, 2),
        mean_tokens=_mean([one.tokens for one in answers]),
        mean_words=_mean([len(words(text)) for text in texts]),
    )


def _runs_on(found: Sequence[str], length: int) -> bool:
    """Whether some `length` words come `TIMES` times in a row: each equals the word `length` places on, long enough."""
    same = [left == right for left, right in zip(found, found[length:], strict=False)]
    longest = max((len(list(run)) for is_same, run in itertools.groupby(same) if is_same), default=0)
    return longest >= length * (TIMES - 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
