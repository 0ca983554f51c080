"""Reads the messages of a request: text only, and the instructions before the conversation as one system message."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from chat_app.api.openai.errors import InvalidRequest
from chat_app.api.openai.unsupported import MESSAGE_FIELDS, refuse_unsupported

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def read_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Give role and text of each message. Raises InvalidRequest that names the message.

    The system messages at the beginning become one: it is kept when the oldest turns do not fit into the context.
    """
    plain = [_read(message, f"messages[{index}]") for index, message in enumerate(messages)]
    if plain[-1]["role"] != "user":
        raise InvalidRequest(
            f"The last message is of role {plain[-1]['role']}; end with one of role user, to be answered.",
            param="messages",
        )
    leading = list(takewhile(lambda message: message["role"] == "system", plain))
    if len(leading) > 1:
        text = "\n\n".join(message["content"] for message in leading)
        plain = [{"role": "system", "content": text}, *plain[len(leading) :]]
    return plain


def _read(message: Mapping[str, Any], place: str) -> dict[str, str]:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidRequest(
            f"{place}.role is {repr(role)[:80]}; use one of {', '.join(ROLES)}.", param=f"{place}.role"
        )
    extra = {name: value for name, value in message.items() if name not in ("role", "content")}
    refuse_unsupported(extra, MESSAGE_FIELDS, f"{place}.")
    text = _text(message.get("content"), f"{place}.content")
    if not text.strip():
        raise InvalidRequest(
            f"{place}.content is empty; write something, or leave the message out.", param=f"{place}.content"
        )
    return {"role": ROLES[role], "content": text}


def _text(content: object, place: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part(part, f"{place}[{index}]") for index, part in enumerate(content))
    raise InvalidRequest(
        f"{place} is {repr(content)[:80]}; give text, or a list of parts of type text.", param=place
    )


def _part(part: object, place: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text":
        raise InvalidRequest(
            f"{place} is of type {repr(kind)[:80]}; the models here read text only.",
            param=place,
            code="unsupported_parameter",
        )
    text = part.get("text") if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(f"{place}.text is {repr(text)[:80]}; give text.", param=f"{place}.text")
    return text
