"""Says in a person's language what went wrong, from the code and the facts of a domain error."""

import re
from typing import Any

from chat_app.words import Words


def error_text(error: Exception, words: Words) -> str:
    """Fill the language's sentence for the error's code with its facts; else use the error's own words."""
    template = words.errors.get(error_code(error))
    if template is None:
        return str(error)
    facts: dict[str, Any] = {"message": str(error), **getattr(error, "facts", {})}
    try:
        return template.format(**facts)
    except KeyError:
        return str(error)


def error_code(error: Exception) -> str:
    """Return the error's stable code; without one, its class in small letters, as "invalid_ranking"."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
