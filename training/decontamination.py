"""Keeps what a model is tested on out of what it learns from, as GPT-3 did with runs of thirteen words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.word_grams import gram_hashes, words_of

GRAM_WORDS = 13
STOCK_PHRASE_DOCUMENTS = 10
_NOTHING = np.zeros(0, dtype=np.uint32)


class KeepOutError(TrainingError):
    """A file of test texts that cannot be read."""

    code = "keep_out"


class KeepOut:
    """The texts of tests. A document is contaminated if it shares thirteen words in a row with one of them.

    A test text shorter than that is looked for as a whole, where it would give the answer away: as the opening
    of a conversation or as a whole document.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        texts = list(texts)
        long = [text for text in texts if len(words_of(text)) >= GRAM_WORDS]
        self._openings = {tuple(words_of(text)) or (text,) for text in texts}
        self._grams = np.unique(np.concatenate([_NOTHING, *(gram_hashes(text, GRAM_WORDS) for text in long)]))

    def contaminates(self, opening: str, words: str) -> bool:
        """Whether a document with this opening message (or whole text) and these words repeats a test."""
        is_test_text = (tuple(words_of(opening)) or (opening,)) in self._openings
        return is_test_text or self.shares_a_run(words)

    def shares_a_run(self, words: str) -> bool:
        """Whether a text has thirteen words in a row in common with a test text."""
        return len(self.shared_runs(words)) > 0

    def shared_runs(self, words: str) -> NDArray[np.uint32]:
        """The runs of thirteen words that a text has in common with test texts, each once, by their hashes."""
        if not len(self._grams) or len(words) < GRAM_WORDS:
            return _NOTHING
        grams = gram_hashes(words, GRAM_WORDS)
        places = np.searchsorted(self._grams, grams).clip(max=len(self._grams) - 1)  # _grams is sorted
        return np.unique(grams[self._grams[places] == grams])


def overlapping(documents: Sequence[str], tests: KeepOut) -> list[bool]:
    """For each document whether it shares a run of words with a test text that is no stock phrase.

    A run that stands in more than ten documents gives nothing away (GPT-3, appendix C).
    """
    shared = [tests.shared_runs(words) for words in documents]
    runs, documents_with = np.unique(np.concatenate([_NOTHING, *shared]), return_counts=True)
    telling = runs[documents_with <= STOCK_PHRASE_DOCUMENTS]
    return [bool(np.isin(own, telling).any()) for own in shared]


def read_keep_out(paths: Sequence[Path]) -> KeepOut:
    """The user's messages, turns and texts of jsonl files; a record with a "part" counts if it is "heldout".

    Raises KeepOutError that names the file and line of a record that is none of these.
    """
    texts: list[str] = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines() also splits within texts
        except (OSError, UnicodeDecodeError) as error:
            raise KeepOutError(
                f"The test texts {path} cannot be read ({error}). Correct the path."
            ) from error
        for number, line in enumerate(lines, start=1):
            texts += _texts_of(line, f"{path}:{number}") if line.strip() else []
    return KeepOut(texts)


def _texts_of(line: str, place: str) -> list[str]:
    try:
        record = json.loads(line)
        return _texts(record) if record.get("part", "heldout") == "heldout" else []
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise KeepOutError(
            f'{place} is not a test text. A record needs "messages", "user_turns" or "text".'
        ) from error


def _texts(record: dict[str, Any]) -> list[str]:
    if "messages" in record:
        texts = [message["content"] for message in record["messages"] if message["role"] == "user"]
    else:
        texts = record["user_turns"] if "user_turns" in record else [record["text"]]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("texts are strings in a list")
    return texts
