"""Reads what a click in our own markup sends; it comes from the client, so every value is checked."""

from dataclasses import dataclass
from typing import Any, get_args

from chat_app.errors import InvalidInput
from chat_app.presenters.chat import AS_SERVED_OPTION, FEW_SHOT, ZERO_SHOT
from chat_app.services.choice import AnswerChoice
from chat_app.services.compare import Choice
from chat_app.words import Words

MAX_KEY_LENGTH = 80


@dataclass(frozen=True, slots=True)
class VoteClick:
    """A click on a vote button."""

    comparison_id: int
    choice: Choice
    key: str
    seconds: float | None


def event_data(event: Any) -> object:
    """Return what the page sent with a Gradio event."""
    return event._data


def event_text(data: object, name: str) -> str:
    """Return a text of the event's data. Raises InvalidInput when it is missing or no text."""
    value = _value(data, name)
    if not isinstance(value, str):
        raise InvalidInput(f'The page sent {value!r} as "{name}".', "Reload the page.")
    return value


def event_id(data: object, name: str = "id") -> int:
    """Return a whole number of the event's data. Raises InvalidInput when it is missing or something else."""
    value = _value(data, name)
    try:
        return int(str(value))
    except ValueError as error:
        raise InvalidInput(f'The page sent {value!r} as "{name}".', "Reload the page.") from error


def event_vote(data: object) -> VoteClick:
    """Return a click on a vote button. Raises InvalidInput for an unknown choice or an impossible key."""
    choice, key = event_text(data, "choice"), event_text(data, "key")
    if choice not in get_args(Choice):
        raise InvalidInput(f"{choice!r} is no vote.", "Reload the page and vote with its buttons.")
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidInput(f"The vote's key has {len(key)} characters.", "Reload the page and vote again.")
    return VoteClick(event_id(data, "comparison"), choice, key, _seconds(_value(data, "seconds")))  # type: ignore[arg-type]  # checked above


def answer_choice(version: object, context: object, words: Words) -> AnswerChoice:
    """Return who shall answer and after which examples, as the two choices beside the composer hold it.

    Raises InvalidInput for something that is not offered there.
    """
    version_id = whole(version)
    if version_id is None or version_id < AS_SERVED_OPTION or context not in (ZERO_SHOT, FEW_SHOT):
        raise InvalidInput(f"The page sent {version!r} and {context!r} as choices.", "Reload the page.")
    return AnswerChoice(
        version_id=None if version_id == AS_SERVED_OPTION else version_id,
        examples=words.language if context == FEW_SHOT else "none",
    )


def whole(number: object) -> int | None:
    """Return an id that a hidden number component holds, None when it holds none."""
    return int(number) if isinstance(number, int | float) and number == number // 1 else None


def _value(data: object, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 86_400 else None
