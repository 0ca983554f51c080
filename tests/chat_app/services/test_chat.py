"""Chat: what is said and answered is stored, every branch is kept, and two answers never run at once."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from chat_app.container import Container, Services, assemble
from chat_app.errors import (
    Busy,
    Conflict,
    EmptyMessage,
    InvalidInput,
    MessageTooLong,
    NotFound,
    PromptDoesNotFit,
    StillAnswering,
    TooManyWaiting,
)
from chat_app.records import open_records
from chat_app.services.chat import ChatEvent
from chat_app.services.person import Person
from chat_app.services.thread import Thread
from chat_app.settings import Settings
from db.tables import Completion, Conversation, Message
from tests.chat_app.conftest import collect
from tests.factories import make_user


def say(services: Services, conversation_id: int, text: str) -> ChatEvent:
    return collect(services.chat.send(services.you, conversation_id, text))[-1]


def contents(thread: Thread) -> list[str]:
    return [turn.content for turn in thread.turns]


def test_an_answer_streams_and_is_stored_with_its_version(services: Services, container: Container) -> None:
    conversation = services.chat.create(services.you)
    events = collect(services.chat.send(services.you, conversation, " Hello! "))
    assert [events[0].kind, events[-1].kind] == ["queued", "done"]
    thread = services.chat.thread(services.you, conversation)
    assert [turn.role for turn in thread.turns] == ["user", "assistant"]
    assert thread.turns[0].content == "Hello!"
    assert thread.turns[0].message_id == events[0].message_id
    assert thread.turns[1].message_id == events[-1].message_id
    assert thread.turns[1].version_name == "sft"
    assert thread.title == "Hello!"
    with container.database.read() as session:
        completion = session.scalars(select(Completion)).one()
        assert 0 < len(completion.token_ids) <= 12
        assert completion.text == events[-1].text
        assert completion.decoding["temperature"] == 0.5
        assert completion.seed is not None


def test_the_users_message_is_stored_before_the_answer(services: Services) -> None:
    conversation = services.chat.create(services.you)

    async def look_early() -> Thread:
        events = services.chat.send(services.you, conversation, "Hello!")
        await anext(events)
        thread = services.chat.thread(services.you, conversation)
        await events.aclose()
        await services.chat.finish()
        return thread

    early = asyncio.run(look_early())
    assert contents(early) == ["Hello!"]
    assert early.is_answering


@pytest.mark.parametrize("text", ["", "   ", "\n\t "])
def test_an_empty_message_is_refused(services: Services, text: str) -> None:
    conversation = services.chat.create(services.you)
    with pytest.raises(EmptyMessage):
        say(services, conversation, text)
    assert services.chat.thread(services.you, conversation).turns == ()


def test_a_message_over_the_limit_is_refused_and_the_limit_named(services: Services) -> None:
    conversation = services.chat.create(services.you)
    with pytest.raises(MessageTooLong, match=r"4,001 characters; the limit is 4,000"):
        say(services, conversation, "x" * 4001)


def test_a_message_that_no_database_can_store_is_refused(services: Services) -> None:
    conversation = services.chat.create(services.you)
    with pytest.raises(InvalidInput, match="NUL"):
        say(services, conversation, "a\x00b")


def test_a_message_over_the_models_context_is_kept_and_can_be_edited(services: Services) -> None:
    conversation = services.chat.create(services.you)
    with pytest.raises(PromptDoesNotFit, match="Shorten it"):
        say(services, conversation, "x " * 300)
    thread = services.chat.thread(services.you, conversation)
    assert thread.is_unanswered
    collect(services.chat.edit(services.you, thread.turns[0].message_id, "Short."))
    thread = services.chat.thread(services.you, conversation)
    assert thread.turns[0].content == "Short."
    assert thread.turns[0].sibling_count == 2


def test_a_second_message_while_the_first_is_answered_is_a_conflict(services: Services) -> None:
    conversation = services.chat.create(services.you)

    async def send_twice() -> None:
        first = services.chat.send(services.you, conversation, "One.")
        await anext(first)
        with pytest.raises(StillAnswering):
            await anext(services.chat.send(services.you, conversation, "Two."))
        with pytest.raises(StillAnswering):
            services.chat.undo(services.you, conversation)
        async for _ in first:
            pass

    asyncio.run(send_twice())
    assert contents(services.chat.thread(services.you, conversation))[0] == "One."
    say(services, conversation, "Three.")  # and the conversation is free again


class TestWithLongAnswers:
    """A hundred tokens are long enough to be stopped in."""

    @pytest.fixture
    def settings(self, settings: Settings, steady_model: Path) -> Settings:
        decoding = settings.decoding.model_copy(update={"max_new_tokens": 100, "temperature": 0.0})
        return settings.model_copy(update={"model": str(steady_model), "decoding": decoding})

    def test_closing_the_tab_stores_what_there_is(self, services: Services) -> None:
        conversation = services.chat.create(services.you)

        async def close_early() -> None:
            events = services.chat.send(services.you, conversation, "Hello!")
            async for event in events:
                if event.text:
                    break
            await events.aclose()
            await services.chat.finish()

        asyncio.run(close_early())
        thread = services.chat.thread(services.you, conversation)
        assert thread.turns[-1].role == "assistant"
        assert thread.turns[-1].is_stopped
        assert not thread.is_answering

    def test_stop_from_another_tab_ends_the_answer_and_keeps_its_text(
        self, services: Services, container: Container
    ) -> None:
        conversation = services.chat.create(services.you)

        async def stop_early() -> ChatEvent:
            async for event in services.chat.send(services.you, conversation, "Hello!"):
                last = event
                if event.text and event.kind == "text":
                    await asyncio.to_thread(services.chat.stop, services.you, conversation)
            return last

        last = asyncio.run(stop_early())
        assert last.kind == "stopped"
        assert services.chat.thread(services.you, conversation).turns[-1].content == last.text
        with container.database.read() as session:
            completion = session.scalars(select(Completion)).one()
            assert completion.finish_reason == "stopped"
            assert 0 < len(completion.token_ids) < 100

    def test_stop_before_the_answer_began_leaves_the_question_unanswered(self, services: Services) -> None:
        conversation = services.chat.create(services.you)

        async def stop_at_once() -> list[str]:
            kinds = []
            async for event in services.chat.send(services.you, conversation, "Hello!"):
                kinds.append(event.kind)
                if event.kind == "queued":
                    services.chat.stop(services.you, conversation)
            return kinds

        kinds = asyncio.run(stop_at_once())
        thread = services.chat.thread(services.you, conversation)
        assert kinds[-1] == "stopped"
        assert thread.is_unanswered or thread.turns[-1].is_stopped


def test_regenerating_keeps_the_old_answer_as_a_sibling(services: Services) -> None:
    conversation = services.chat.create(services.you)
    first = say(services, conversation, "Hello!")
    second = collect(services.chat.regenerate(services.you, conversation))[-1]
    thread = services.chat.thread(services.you, conversation)
    answer = thread.turns[-1]
    assert (answer.message_id, answer.sibling_index, answer.sibling_count) == (second.message_id, 1, 2)
    thread = services.chat.show_sibling(services.you, answer.message_id, -1)
    assert thread.turns[-1].message_id == first.message_id
    with pytest.raises(NotFound):
        services.chat.show_sibling(services.you, thread.turns[-1].message_id, -1)


def test_editing_keeps_the_old_branch_with_its_answers(services: Services) -> None:
    conversation = services.chat.create(services.you)
    say(services, conversation, "One.")
    say(services, conversation, "Two.")
    old = services.chat.thread(services.you, conversation)
    collect(services.chat.edit(services.you, old.turns[0].message_id, "Uno."))
    new = services.chat.thread(services.you, conversation)
    assert len(new.turns) == 2
    assert new.turns[0].content == "Uno."
    back = services.chat.show_sibling(services.you, new.turns[0].message_id, -1)
    assert contents(back) == contents(old)


def test_an_answer_cannot_be_edited(services: Services) -> None:
    conversation = services.chat.create(services.you)
    answer = say(services, conversation, "Hello!")
    assert answer.message_id is not None
    with pytest.raises(Conflict, match="answer of the model"):
        collect(services.chat.edit(services.you, answer.message_id, "Mine."))


def test_undo_shows_the_branch_before_the_last_exchange_and_loses_nothing(
    services: Services, container: Container
) -> None:
    conversation = services.chat.create(services.you)
    say(services, conversation, "One.")
    say(services, conversation, "Two.")
    assert contents(services.chat.undo(services.you, conversation))[0] == "One."
    assert services.chat.undo(services.you, conversation).turns == ()
    with pytest.raises(Conflict, match="nothing to undo"):
        services.chat.undo(services.you, conversation)
    with container.database.read() as session:
        assert session.scalar(select(func.count(Message.id))) == 4


def test_the_prompt_holds_the_earlier_turns(services: Services) -> None:
    conversation = services.chat.create(services.you)
    say(services, conversation, "One.")
    assert say(services, conversation, "Two.").dropped_messages == 0
    thread = services.chat.thread(services.you, conversation)
    assert [turn.role for turn in thread.turns] == ["user", "assistant", "user", "assistant"]


def test_another_persons_conversation_is_not_there(services: Services, container: Container) -> None:
    with container.database.write() as session:
        other = Person(make_user(session=session).id, "other", "chatter")
    conversation = services.chat.create(services.you)
    answer = say(services, conversation, "Hello!")
    assert services.chat.conversations(other) == []
    with pytest.raises(NotFound, match=f"no conversation {conversation}"):
        services.chat.thread(other, conversation)
    with pytest.raises(NotFound):
        collect(services.chat.send(other, conversation, "Hello!"))
    with pytest.raises(NotFound):
        services.chat.stop(other, conversation)
    assert answer.message_id is not None
    with pytest.raises(NotFound):
        services.chat.show_sibling(other, answer.message_id, 1)


def test_conversations_are_listed_newest_first_until_deleted(services: Services) -> None:
    first = services.chat.create(services.you)
    second = services.chat.create(services.you)
    assert first != second  # two pages that begin at once do not share one
    assert services.chat.conversations(services.you) == []
    say(services, first, "First.")
    say(services, second, "Second.")
    say(services, first, "Again.")
    assert [one.title for one in services.chat.conversations(services.you)] == ["First.", "Second."]
    services.chat.rename(services.you, second, "Renamed")
    services.chat.delete(services.you, first)
    assert [one.title for one in services.chat.conversations(services.you)] == ["Renamed"]
    with pytest.raises(NotFound):
        services.chat.thread(services.you, first)


def test_a_title_is_the_first_line_cut_at_a_word(services: Services) -> None:
    conversation = services.chat.create(services.you)
    say(services, conversation, "What would you do on a rainy Sunday if there was no light?\nTell me.")
    assert services.chat.thread(services.you, conversation).title == (
        "What would you do on a rainy Sunday if there was no light?"
    )
    other = services.chat.create(services.you)
    say(services, other, "one two three four five six seven eight nine ten eleven twelve thirteen")
    assert services.chat.thread(services.you, other).title == (
        "one two three four five six seven eight nine ten eleven…"
    )


class TestWithAShortQueue:
    """An engine that is not started and lets one answer wait."""

    @pytest.fixture
    def unstarted(self, settings: Settings) -> Iterator[Container]:
        inference = settings.inference.model_copy(update={"max_queue": 1})
        container = assemble(open_records(settings.model_copy(update={"inference": inference})))
        container.engine.serve_version(container.records.registry.serving().id)
        yield container
        container.engine.stop()
        container.database.dispose()

    def test_a_full_queue_says_when_to_come_back_and_stores_nothing(self, unstarted: Container) -> None:
        services = unstarted.services

        async def send_to_two() -> Busy:
            first = services.chat.send(services.you, services.chat.create(services.you), "One.")
            await anext(first)
            second = services.chat.create(services.you)
            with pytest.raises(Busy) as caught:
                await anext(services.chat.send(services.you, second, "Two."))
            with pytest.raises(Busy):
                await anext(services.compare.open_in_chat(services.you, second, "Two."))
            assert services.chat.thread(services.you, second).turns == ()
            unstarted.engine.start()
            async for _ in first:
                pass
            assert [event.kind async for event in services.chat.send(services.you, second, "Two.")][
                -1
            ] == "done"
            return caught.value

        error = asyncio.run(send_to_two())
        assert (error.code, error.status, error.facts) == ("busy", 429, {"waiting": 1, "seconds": 1})
        assert error.retry_after == 1
        assert "1 answers are waiting" in str(error)
        assert "Try again in a second." in str(error)


class TestWithTwoPlacesPerPerson:
    """An engine that is not started and lets two requests of each person wait."""

    @pytest.fixture
    def unstarted(self, settings: Settings) -> Iterator[Container]:
        inference = settings.inference.model_copy(update={"max_waiting_per_person": 2})
        container = assemble(open_records(settings.model_copy(update={"inference": inference})))
        container.engine.serve_version(container.records.registry.serving().id)
        yield container
        container.engine.stop()
        container.database.dispose()

    def test_who_has_too_many_waiting_is_told_so_while_another_may_ask(self, unstarted: Container) -> None:
        services = unstarted.services
        with unstarted.database.write() as session:
            other = Person(make_user(session=session, name="other").id, "other", "chatter")
        program = replace(services.you, via="program at 127.0.0.1")

        async def ask(person: Person) -> None:
            await anext(services.chat.send(person, open_conversation(person), "Hello!"))

        def open_conversation(person: Person) -> int:
            conversation = services.chat.create(person)
            services.chat.rename(person, conversation, "asked")
            with unstarted.database.write() as session:
                session.add(Message(conversation_id=conversation, role="assistant", content="Hi!"))
            return conversation

        async def crowd() -> TooManyWaiting:
            await ask(services.you)
            await ask(services.you)
            with pytest.raises(TooManyWaiting) as caught:
                await ask(services.you)
            await ask(other)
            await ask(program)
            return caught.value

        error = asyncio.run(crowd())
        assert (error.code, error.status) == ("too_many_waiting", 429)
        assert "You have 2 requests waiting" in str(error)


def test_the_same_words_again_are_the_same_turn_as_long_as_it_has_no_answer(
    services: Services, container: Container
) -> None:
    conversation = services.chat.create(services.you)
    with container.database.write() as session:
        turn = Message(conversation_id=conversation, role="user", content="Hello!")
        session.add(turn)
        session.flush()
        session.get_one(Conversation, conversation).leaf_id = turn.id
    assert services.chat.thread(services.you, conversation).is_unanswered
    say(services, conversation, " Hello! ")
    [question, answer] = services.chat.thread(services.you, conversation).turns
    assert (question.content, question.sibling_count, answer.role) == ("Hello!", 1, "assistant")
    say(services, conversation, "Hello!")  # after an answer it is a new turn
    assert contents(services.chat.thread(services.you, conversation))[0::2] == ["Hello!", "Hello!"]
