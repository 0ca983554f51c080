"""The tables of words fit each other, and the language is chosen as people ask for it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from string import Formatter
from typing import Any

import pytest

from chat_app import errors as service_errors
from chat_app.presenters.errors import error_code
from chat_app.words import EN, ZH, preferred_language
from feedback import errors as feedback_errors
from training import errors as training_errors


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def texts(words: Any, path: str = "") -> dict[str, Any]:
    """Every text of a table by its path; keys of tables count, the number of openings does not."""
    found: dict[str, Any] = {}
    for field in fields(words):
        value = getattr(words, field.name)
        name = f"{path}{field.name}"
        if is_dataclass(value):
            found |= texts(value, f"{name}.")
        elif isinstance(value, Mapping) and name != "errors":
            found |= {f"{name}[{key}]": text for key, text in value.items()}
        elif isinstance(value, str):
            found[name] = value
    return found


def test_both_languages_have_the_same_texts() -> None:
    assert texts(EN).keys() == texts(ZH).keys()


def test_a_translation_fills_in_the_same_values() -> None:
    english, chinese = texts(EN), texts(ZH)
    different = {
        name
        for name, text in english.items()
        if isinstance(text, str) and placeholders(text) != placeholders(chinese[name])
    }
    assert different == set()


def test_no_text_is_empty() -> None:
    assert [name for table in (EN, ZH) for name, text in texts(table).items() if not text] == []


def test_every_error_a_person_can_meet_is_told_in_chinese() -> None:
    not_for_people = {"service_error", "training_error", "stale_lease", "job_cancelled", "lease_lost"}
    not_for_people |= {"model_not_found"}  # programs name models, pages have a list
    codes = set()
    for module in (service_errors, training_errors):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Exception) and "code" in vars(kind):
                codes.add(kind.code)
    assert codes - not_for_people - ZH.errors.keys() == set()


@pytest.mark.parametrize(
    "kind",
    [
        feedback_errors.ComparisonNotFound,
        feedback_errors.NotYourComparison,
        feedback_errors.ComparisonSuperseded,
        feedback_errors.InvalidRanking,
    ],
)
def test_errors_of_a_vote_are_told_in_chinese(kind: type[Exception]) -> None:
    assert error_code(kind("It is so.")) in ZH.errors


@pytest.mark.parametrize(
    ("cookie", "header", "language"),
    [
        (None, None, "en"),
        (None, "", "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "en-GB,en;q=0.9,zh;q=0.8", "en"),
        (None, "de-DE, zh-TW;q=0.7, en;q=0.5", "zh"),
        (None, "fr, de", "en"),
        (None, "zh;q=0, en;q=0.1", "en"),
        (None, "zh;q=lots, en", "en"),
        (None, "zh;q=0", "en"),
        (None, ";;;,,,q=", "en"),
        ("en", "zh-CN", "en"),
        ("zh", "en", "zh"),
        ("klingon", "zh", "zh"),
    ],
)
def test_the_language_is_what_was_chosen_before_or_what_the_browser_asks_for(
    cookie: str | None, header: str | None, language: str
) -> None:
    assert preferred_language(cookie, header) == language
