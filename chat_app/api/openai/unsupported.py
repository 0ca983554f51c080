"""What OpenAI's API has and this one has not: refused by name, unless its value asks for nothing."""

from collections.abc import Mapping
from typing import Any

from chat_app.api.openai.errors import InvalidRequest

NO_TOOLS = "the models here cannot call tools or functions"
NO_SOUND = "the models here read and write text only"
NO_PENALTY = "there is no such penalty here"
NO_REASONING = "the models here answer without reasoning first"
NO_SEARCH = "the models here cannot search"

# For each field: the values that ask for nothing, beside null, and why any other cannot be met.
UNSUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "tools": (([],), NO_TOOLS),
    "tool_choice": (("none", "auto"), NO_TOOLS),
    "parallel_tool_calls": ((True, False), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "function_call": (("none", "auto"), NO_TOOLS),
    "audio": ((), NO_SOUND),
    "modalities": ((["text"],), NO_SOUND),
    "response_format": (({"type": "text"},), "answers are plain text, and no form can be enforced"),
    "logit_bias": (({},), "single tokens cannot be made likelier or less likely"),
    "frequency_penalty": ((0,), NO_PENALTY),
    "presence_penalty": ((0,), NO_PENALTY),
    "prediction": ((), "a prediction would not make the answer come sooner"),
    "reasoning_effort": (("none",), NO_REASONING),
    "verbosity": (("medium",), "the length of answers cannot be asked for in words; max_tokens limits it"),
    "web_search_options": ((), NO_SEARCH),
    "service_tier": (("auto", "default"), "there is one tier"),
    "store": ((True,), "every answer is kept, so that it can be voted on by its id"),
    "metadata": (({},), "nothing is kept beside the messages and the answers"),
}
WITHOUT_EFFECT = frozenset({"user", "safety_identifier", "prompt_cache_key"})  # names that change no answer

MESSAGE_FIELDS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "tool_calls": (([],), NO_TOOLS),
    "tool_call_id": ((), NO_TOOLS),
    "function_call": ((), NO_TOOLS),
    "audio": ((), NO_SOUND),
    "refusal": ((), "answers here have no refusal beside their text"),
    "annotations": (([],), "answers here have no annotations"),
    "name": ((), "the speakers of one role cannot be told apart; say the name in the text"),
}


def refuse_unsupported(
    fields: Mapping[str, Any], known: Mapping[str, tuple[tuple[Any, ...], str]], place: str = ""
) -> None:
    """Raise InvalidRequest for the first field that asks for what there is not."""
    for name, value in fields.items():
        param = f"{place}{name}"
        neutral, why = known.get(name, ((), "this service does not know the field; see /v1/docs"))
        if value is None or _is_neutral(value, neutral):
            continue
        raise InvalidRequest(
            f"{param} is not supported: {why}. Leave it out.", param=param, code="unsupported_parameter"
        )


def _is_neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value asks for nothing; True is not 1 here, nor False 0."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)
