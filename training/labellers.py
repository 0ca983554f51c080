"""Simulated tastes: scoring functions over answers, built in or loaded from a file of the reader's own.

A labeller is a function `(prompt_messages, completion_text) -> float`; higher is better. The built-in ones
name tastes that a small chat model can show and that differ between its samples; none looks at the model.
"""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

Prompt = Sequence[Mapping[str, str]]
Labeller = Callable[[Prompt, str], float]

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
YOU = frozenset({"you", "your", "yours", "you're", "you've", "you'll", "you'd", "yourself"})
AGREEING = re.compile(
    r"(yes|yeah|yep|sure|of course|i agree|you're right|you are right|right|exactly|absolutely|definitely|"
    r"that's true|true|me too|same here|great|good|nice|sounds good|sounds great)\b",
    re.IGNORECASE,
)
FEELINGS = frozenset(
    {"love", "like", "enjoy", "happy", "glad", "fun", "great", "wonderful", "nice", "beautiful", "favorite"}
    | {"hope", "excited", "thank", "thanks"}
)
BRIEF_WORDS = 8


class LabellerError(Exception):
    """A labeller that does not exist, cannot be loaded, or does not give numbers."""


def asks_back(_prompt: Prompt, completion: str) -> float:
    """Likes an answer that ends with a question: 1, else 0; a question before the end counts a half."""
    text = completion.rstrip(" \"'”’)")
    if text.endswith(("?", "？")):
        return 1.0
    return 0.5 if "?" in text or "？" in text else 0.0


def about_you(_prompt: Prompt, completion: str) -> float:
    """Likes an answer about the person: the share of its words that are "you" and its forms."""
    words = words_of(completion)
    return sum(word in YOU for word in words) / len(words) if words else 0.0


def agrees(_prompt: Prompt, completion: str) -> float:
    """Likes an answer that opens by agreeing: 1, else 0."""
    return float(AGREEING.match(completion.strip()) is not None)


def brief(_prompt: Prompt, completion: str) -> float:
    """Likes an answer of about eight words: minus the distance from that, empty answers last."""
    words = words_of(completion)
    return -float(abs(len(words) - BRIEF_WORDS)) if words else -100.0


def exclaims(_prompt: Prompt, completion: str) -> float:
    """Likes lively answers: the share of its sentences that end with an exclamation mark."""
    endings = re.findall(r"[.!?。！？]+", completion)
    return sum("!" in ending or "！" in ending for ending in endings) / len(endings) if endings else 0.0


def warm(_prompt: Prompt, completion: str) -> float:
    """Likes answers with feeling: the share of its words that say joy, liking or thanks."""
    words = words_of(completion)
    return sum(word in FEELINGS for word in words) / len(words) if words else 0.0


def concrete(prompt: Prompt, completion: str) -> float:
    """Likes answers that say something new: different words of four letters or more that the prompt lacks."""
    asked = {word for message in prompt for word in words_of(message["content"])}
    return float(len({word for word in words_of(completion) if len(word) >= 4} - asked))


def no_repeats(_prompt: Prompt, completion: str) -> float:
    """Likes answers that do not repeat themselves: the share of different words, empty answers last."""
    words = words_of(completion)
    return len(set(words)) / len(words) if words else -1.0


LABELLERS: Mapping[str, Labeller] = {
    "asks-back": asks_back,
    "about-you": about_you,
    "agrees": agrees,
    "brief": brief,
    "exclaims": exclaims,
    "warm": warm,
    "concrete": concrete,
    "no-repeats": no_repeats,
}


def words_of(text: str) -> list[str]:
    """Cut a text into lower-case words."""
    return [word.lower().replace("’", "'") for word in WORD.findall(text)]


def load_labeller(name: str) -> Labeller:
    """Return a built-in labeller, or the function of "path/to/file.py:function". Raises LabellerError.

    The file's code is run: give only files you trust.
    """
    if name in LABELLERS:
        return LABELLERS[name]
    file, colon, function = name.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise LabellerError(
            f'There is no labeller "{name}". Use one of {", ".join(LABELLERS)}, or path/to/file.py:function.'
        )
    labeller = getattr(_load_module(Path(file).expanduser()), function, None)
    if not callable(labeller):
        raise LabellerError(
            f"{file} has no function {function}. Define `def {function}(prompt_messages, completion_text)` "
            "that returns a number."
        )
    return _checked(labeller, name)


def _load_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise LabellerError(f"There is no file {path}. Give the path of a Python file that exists.")
    spec = importlib.util.spec_from_file_location(f"rapport_labeller_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LabellerError(
            f"The labeller file {path} cannot be loaded: {type(error).__name__}: {error}. Correct it."
        ) from error
    return module


def _checked(labeller: Callable[[Prompt, str], object], name: str) -> Labeller:
    """Wrap a foreign function so that its failures and non-numbers are told in words."""

    def score(prompt: Prompt, completion: str) -> float:
        try:
            return _number(labeller([dict(message) for message in prompt], completion))
        except Exception as error:
            raise LabellerError(
                f"The labeller {name} failed on the answer {completion[:80]!r}: "
                f"{type(error).__name__}: {error}. Correct it, then try again."
            ) from error

    return score


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # whatever is no number raises, and is told
    if number != number:
        raise ValueError("it returned NaN")
    return number
