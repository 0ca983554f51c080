"""A person chooses who answers and after which examples; it is recorded, remembered, and nobody's words change."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from chat_app.container import Container, Services, assemble
from chat_app.records import open_records
from chat_app.services.chat import ChatEvent
from chat_app.services.choice import AS_SERVED, AnswerChoice, ExampleSet, example_messages
from chat_app.settings import Settings
from db.tables import Completion
from tests.chat_app.conftest import collect, make_settings
from tests.tiny_model import make_tiny_model
from training.errors import NotServable, VersionNotFound
from training.version_rows import VersionKind

FEW_SHOT = AnswerChoice(examples="en")


@pytest.fixture
def roomy(settings: Settings, tmp_path: Path) -> Iterator[Container]:
    """A service whose model reads 512 tokens."""
    model = make_tiny_model(tmp_path / "roomy", context=512)
    container = assemble(open_records(make_settings(settings.data_dir, model)))
    container.engine.start()
    container.engine.serve_version(container.records.registry.serving().id)
    yield container
    container.engine.stop()
    container.database.dispose()


def add(container: Container, folder: Path, kind: VersionKind) -> int:
    """A second model beside the one that serves."""
    return container.records.registry.add_version(
        kind=kind, name_hint=kind, folder=make_tiny_model(folder, seed=7), metrics={}, start_id=None,
        anchor_id=None, reward_id=None, job_id=None,
    )  # fmt: skip


def say(services: Services, conversation: int, text: str, choice: AnswerChoice = AS_SERVED) -> ChatEvent:
    return collect(services.chat.send(services.you, conversation, text, choice))[-1]


def decoding(container: Container) -> list[dict[str, object]]:
    with container.database.read() as session:
        return [row.decoding for row in session.scalars(select(Completion).order_by(Completion.id))]


def test_a_chosen_version_answers_and_the_conversation_remembers_it(
    services: Services, container: Container, tmp_path: Path
) -> None:
    base = add(container, tmp_path / "base", "base")
    conversation = services.chat.create(services.you)
    chosen = say(services, conversation, "Hello!", AnswerChoice(version_id=base))
    assert chosen.version_name == f"base-{base}"
    assert services.chat.thread(services.you, conversation).choice == AnswerChoice(version_id=base)

    again = collect(services.chat.regenerate(services.you, conversation))[-1]
    assert again.version_name == "sft"
    assert services.chat.thread(services.you, conversation).choice == AS_SERVED
    assert [kept["is_version_chosen"] for kept in decoding(container)] == [True, False]
    assert container.engine.serving_version_id != base


def test_both_answers_to_compare_come_from_the_chosen_version(
    services: Services, container: Container, tmp_path: Path
) -> None:
    base = add(container, tmp_path / "base", "base")
    conversation = services.chat.create(services.you)
    choice = AnswerChoice(version_id=base, examples="zh")
    collect(services.compare.open_in_chat(services.you, conversation, "Hello!", choice))

    with container.database.read() as session:
        written = session.scalars(select(Completion)).all()
    assert {row.version_id for row in written} == {base}
    assert {row.decoding["examples"] for row in written} == {"zh"}
    assert services.chat.thread(services.you, conversation).choice == choice


def test_an_unknown_version_is_refused_and_nothing_is_stored(services: Services) -> None:
    conversation = services.chat.create(services.you)
    with pytest.raises(VersionNotFound, match="no model version 99"):
        say(services, conversation, "Hello!", AnswerChoice(version_id=99))
    thread = services.chat.thread(services.you, conversation)
    assert thread.turns == ()
    assert not thread.is_answering


def test_a_reward_model_cannot_be_chosen(services: Services, container: Container, tmp_path: Path) -> None:
    reward = add(container, tmp_path / "reward", "reward")
    conversation = services.chat.create(services.you)
    with pytest.raises(NotServable):
        say(services, conversation, "Hello!", AnswerChoice(version_id=reward))


def test_examples_are_recorded_and_never_become_the_persons_words(roomy: Container) -> None:
    services = roomy.services
    conversation = services.chat.create(services.you)
    say(services, conversation, "Hello!", FEW_SHOT)
    say(services, conversation, "And you?")

    thread = services.chat.thread(services.you, conversation)
    assert [turn.content for turn in thread.turns if turn.role == "user"] == ["Hello!", "And you?"]
    assert [turn.example_exchanges for turn in thread.turns if turn.role == "assistant"] == [4, 0]
    assert [(kept["examples"], kept["example_exchanges"]) for kept in decoding(roomy)] == [
        ("en", 4),
        ("none", 0),
    ]
    assert thread.choice == AS_SERVED


def test_an_answer_from_before_there_was_a_choice_is_as_served(
    services: Services, container: Container
) -> None:
    conversation = services.chat.create(services.you)
    say(services, conversation, "Hello!", FEW_SHOT)
    with container.database.write() as session:
        session.scalars(select(Completion)).one().decoding = {"temperature": 0.8, "examples": "klingon"}
    assert services.chat.thread(services.you, conversation).choice == AS_SERVED


@pytest.mark.parametrize("language", ["en", "zh"])
def test_four_short_exchanges_of_each_language_travel_with_the_package(language: ExampleSet) -> None:
    messages = example_messages(language)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4
    assert all(0 < len(message["content"]) < 100 for message in messages)
    assert any(letter >= "\u4e00" for message in messages for letter in message["content"]) == (
        language == "zh"
    )
