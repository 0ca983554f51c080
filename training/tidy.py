"""Cleans text before training: one Unicode form for all of it, better spelling for casual chat, and the reverse."""

from __future__ import annotations

import re
import unicodedata

_CONTRACTIONS = {
    "im": "I'm", "ive": "I've", "ill": "I'll", "id": "I'd", "dont": "don't", "didnt": "didn't",
    "doesnt": "doesn't", "cant": "can't", "wont": "won't", "isnt": "isn't", "wasnt": "wasn't",
    "arent": "aren't", "couldnt": "couldn't", "wouldnt": "wouldn't", "shouldnt": "shouldn't",
    "havent": "haven't", "hasnt": "hasn't", "thats": "that's", "whats": "what's", "youre": "you're",
    "theyre": "they're", "youve": "you've", "theres": "there's", "alot": "a lot", "definately": "definitely",
    "favourite": "favorite", "i": "I", "i'm": "I'm", "i've": "I've", "i'll": "I'll", "i'd": "I'd",
    "u": "you", "ur": "your", "tho": "though", "bc": "because", "becuase": "because", "recieve": "receive",
    "beleive": "believe", "wierd": "weird", "truely": "truly",
}  # fmt: skip
_QUESTION_STARTS = (
    "who ", "what ", "when ", "where ", "why ", "how ", "which ", "what's ", "is it ",
    "do you", "did you", "are you", "have you", "can you", "would you",
)  # fmt: skip
_AMBIGUOUS = {"ill", "id"}  # "an ill child", "an id card": corrected only in front of a verb
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")
_SENTENCE_START = re.compile(r"(^|[.!?]\s+)([\"'(]?)([a-z])")
_TYPOGRAPHIC = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "–": "-", "\u00a0": " "})


def normalise(text: str) -> str:
    """Unicode NFC, straight quotes, `\\n` line ends, single blanks, at most one empty line in a row."""
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHIC)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def tidy_chat(text: str) -> str:
    """Give a casually typed message capitals, apostrophes, single marks and a full stop at its end."""
    text = re.sub(r"\s+([,.!?])", r"\1", normalise(text))
    text = re.sub(r"([!?])\1+", r"\1", text)
    text = re.sub(r"\.{4,}", "...", text)
    text = re.sub(r"([a-z][.!?,])([A-Z][a-z])", r"\1 \2", text)
    text = _WORD.sub(_corrected, text)
    text = _SENTENCE_START.sub(lambda found: found[1] + found[2] + found[3].upper(), text)
    if text and text[-1].isalnum():
        text += "?" if _asks(text) else "."
    return text


def untidy_chat(text: str) -> str:
    """The same message typed in a hurry: lower case, no mark at its end; a message of marks stays as it is."""
    return text.lower().rstrip(" .!?") or text


def duplicate_key(text: str) -> str:
    """Letters and digits only, lower case: two texts with the same key say the same."""
    return "".join(filter(str.isalnum, text.casefold()))


def _corrected(found: re.Match[str]) -> str:
    word = found[0]
    if word in _AMBIGUOUS:
        following = found.string[found.end() : found.end() + 12].split(" ")
        verb = following[1] if len(following) > 1 else ""
        if verb not in {"be", "go", "have", "like", "love", "say", "see", "take", "try", "do", "get", "give"}:
            return word
    if word[0].isupper() and word.lower() in _CONTRACTIONS and not word.isupper():
        corrected = _CONTRACTIONS[word.lower()]
        return corrected[0].upper() + corrected[1:]
    return _CONTRACTIONS.get(word, word)


def _asks(text: str) -> bool:
    last = re.split(r"[.!?]\s+", text)[-1].casefold()
    return last.startswith(_QUESTION_STARTS)
