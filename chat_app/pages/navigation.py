"""Where the pages are, the bar that leads to them, and which of them a first visit is sent to."""

from dataclasses import dataclass
from typing import Literal

from chat_app.pages.markup import render
from chat_app.words import WORDS, Language, Words

PageName = Literal["chat", "train", "models"]
PAGES: tuple[PageName, ...] = ("chat", "train", "models")


@dataclass(frozen=True, slots=True)
class PageLink:
    """An entry of the navigation bar."""

    href: str
    label: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class LanguageLink:
    """The same page in the other language."""

    href: str
    tag: str


def page_path(language: Language, page: PageName) -> str:
    """Return a page's path; it ends with a slash, so that the browser is not sent on once more."""
    return f"/{language}/{page}/"


def page_title(page: PageName, words: Words) -> str:
    """Return the title of the browser's tab."""
    return f"{_label(page, words)} · {words.product}"


def navigation_bar(page: PageName, words: Words) -> str:
    """Return the markup of the bar with the current page marked and a link to the other language."""
    other: Language = "zh" if words.language == "en" else "en"
    return render(
        "navigation",
        words=words,
        links=[
            PageLink(page_path(words.language, name), _label(name, words), name == page) for name in PAGES
        ],
        other=LanguageLink(page_path(other, page), WORDS[other].tag),
    )


def _label(page: PageName, words: Words) -> str:
    return {
        "chat": words.navigation.chat,
        "train": words.navigation.train,
        "models": words.navigation.models,
    }[page]
