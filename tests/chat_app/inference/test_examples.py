"""Examples stand before the conversation and give way to it, the oldest first."""

import pytest

from chat_app.inference.request import GenerationRequest
from chat_app.inference.versions import ServedVersion
from tests.tiny_model import make_tiny_model
from training.chat_format import PromptTooLong
from training.generation import DecodingParameters
from training.loading import load_language_model

SYSTEM = {"role": "system", "content": "Be kind."}
EXAMPLES = [
    {"role": role, "content": f"{text} {number}"}
    for number in "1234"
    for role, text in (("user", "Question"), ("assistant", "Answer"))
]
TALK = [
    {"role": "user", "content": "I like music."},
    {"role": "assistant", "content": "Yes, I think so."},
    {"role": "user", "content": "And you?"},
]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ServedVersion:
    return ServedVersion(
        1, load_language_model(make_tiny_model(tmp_path_factory.mktemp("roomy") / "m", context=1024))
    )


def ids(version: ServedVersion, messages: list[dict[str, str]]) -> list[int]:
    return version.encode(GenerationRequest(messages)).ids


def with_room_for(version: ServedVersion, messages: list[dict[str, str]]) -> DecodingParameters:
    """So long an answer that the prompt has room for these messages and not for one more."""
    return DecodingParameters(max_new_tokens=1024 - len(ids(version, messages)))


def test_examples_stand_between_system_message_and_conversation(version: ServedVersion) -> None:
    encoded = version.encode(GenerationRequest([SYSTEM, *TALK], examples=EXAMPLES))
    assert encoded.ids == ids(version, [SYSTEM, *EXAMPLES, *TALK])
    assert (encoded.dropped_messages, encoded.example_exchanges) == (0, 4)


@pytest.mark.parametrize("kept", [3, 1, 0])
def test_the_oldest_examples_go_first_and_no_turn_of_the_person(version: ServedVersion, kept: int) -> None:
    long = [SYSTEM, {"role": "user", "content": "x" * 520}, *TALK[1:]]  # over half of the context
    fitting = [SYSTEM, *EXAMPLES[8 - 2 * kept :], *long[1:]]
    parameters = with_room_for(version, fitting)
    encoded = version.encode(GenerationRequest(long, parameters, examples=EXAMPLES))
    assert encoded.ids == ids(version, fitting)
    assert (encoded.dropped_messages, encoded.example_exchanges) == (0, kept)


def test_turns_of_the_person_go_only_when_no_example_is_left(version: ServedVersion) -> None:
    fitting = [SYSTEM, {"role": "user", "content": "x" * 600}]
    parameters = with_room_for(version, fitting)
    encoded = version.encode(
        GenerationRequest([SYSTEM, *TALK[:2], fitting[1]], parameters, examples=EXAMPLES)
    )
    assert encoded.ids == ids(version, fitting)
    assert (encoded.dropped_messages, encoded.example_exchanges) == (2, 0)


def test_a_message_that_does_not_fit_is_refused_with_examples_too(version: ServedVersion) -> None:
    with pytest.raises(PromptTooLong, match="Shorten it"):
        version.encode(GenerationRequest([{"role": "user", "content": "x" * 2000}], examples=EXAMPLES))
