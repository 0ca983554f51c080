"""The words people read, a table per language, and which language somebody prefers."""

from chat_app.words.en import EN
from chat_app.words.preference import LANGUAGE_COOKIE, preferred_language
from chat_app.words.table import Language, Words
from chat_app.words.zh import ZH

WORDS: dict[Language, Words] = {"en": EN, "zh": ZH}

__all__ = ["EN", "LANGUAGE_COOKIE", "WORDS", "ZH", "Language", "Words", "preferred_language"]
