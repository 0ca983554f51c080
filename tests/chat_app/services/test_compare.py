"""Comparisons: two blind answers, one durable vote, and a conversation that goes on with the chosen one."""

import asyncio
from pathlib import Path

import pytest
import torch
from sqlalchemy import delete, func, select

import chat_app.version_loading
from chat_app.container import Container, Services
from chat_app.errors import InvalidInput, NotFound, PairFailed, VoteWaits
from chat_app.records import open_records
from chat_app.services.compare import Choice, answer_for
from chat_app.services.pair import PairEvent
from chat_app.services.person import Person
from chat_app.services.voting import VoteReceipt
from chat_app.settings import Settings
from db.tables import Comparison, Completion, Preference, Prompt
from feedback.collect import Answer
from feedback.errors import ComparisonNotFound, ComparisonSuperseded, InvalidRanking, NotYourComparison
from tests.chat_app.conftest import collect, run
from tests.factories import make_user
from training.loading import LoadedModel


def open_pair(services: Services, conversation_id: int, text: str | None = "Hello!") -> PairEvent:
    return collect(services.compare.open_in_chat(services.you, conversation_id, text))[-1]


def vote(services: Services, comparison_id: int | None, choice: Choice, key: str = "first") -> VoteReceipt:
    assert comparison_id is not None
    return services.compare.vote(services.you, comparison_id, answer_for(choice, idempotency_key=key))


@pytest.fixture
def conversation(services: Services) -> int:
    return services.chat.create(services.you)


def test_two_blind_answers_are_stored_before_the_vote_is_asked_for(
    services: Services, conversation: int
) -> None:
    done = open_pair(services, conversation)
    assert done.kind == "done"
    assert done.left != done.right
    assert done.comparison_id is not None
    view = services.compare.get(services.you, done.comparison_id)
    assert [shown.text for shown in view.completions] == [done.left, done.right]
    assert [shown.version_name for shown in view.completions] == [None, None]
    assert view.prompt[-1].content == "Hello!"
    assert view.verdict is None


def test_both_answers_come_from_one_batch(services: Services, conversation: int) -> None:
    open_pair(services, conversation)
    events = collect(services.compare.open_in_chat(services.you, conversation, None))
    texts = [event for event in events if event.kind == "text"]
    first_left = next(i for i, event in enumerate(texts) if event.left)
    first_right = next(i for i, event in enumerate(texts) if event.right)
    assert abs(first_left - first_right) <= 4


def test_a_reload_finds_the_comparison_that_waits_for_a_vote(services: Services, conversation: int) -> None:
    done = open_pair(services, conversation)
    thread = services.chat.thread(services.you, conversation)
    assert thread.open_comparison is not None
    assert thread.open_comparison.id == done.comparison_id
    assert not thread.is_unanswered
    with pytest.raises(VoteWaits):
        collect(services.chat.send(services.you, conversation, "And now?"))
    vote(services, done.comparison_id, "left")
    assert services.chat.thread(services.you, conversation).open_comparison is None


@pytest.mark.parametrize(
    ("choice", "ranks", "position"),
    [("left", [1, 2], 0), ("right", [2, 1], 1), ("tie", [1, 1], 0), ("both_bad", [1, 1], 0)],
)
def test_the_conversation_goes_on_with_the_chosen_answer(
    services: Services,
    container: Container,
    conversation: int,
    choice: Choice,
    ranks: list[int],
    position: int,
) -> None:
    done = open_pair(services, conversation)
    receipt = vote(services, done.comparison_id, choice)
    assert receipt.version_names == ("sft", "sft")
    assert receipt.chosen_position == position
    assert receipt.thread is not None
    last = receipt.thread.turns[-1]
    assert last.content == (done.left, done.right)[position]
    assert (last.verdict, last.comparison_id) == (choice, done.comparison_id)
    with container.database.read() as session:
        stored = session.scalars(select(Preference)).one()
        assert stored.ranks == ranks
        assert stored.is_both_bad == (choice == "both_bad")


def test_a_vote_is_there_for_another_connection_when_the_receipt_is(
    services: Services, settings: Settings, conversation: int
) -> None:
    receipt = vote(services, open_pair(services, conversation).comparison_id, "left")
    other = open_records(settings).database
    with other.read() as session:
        assert session.get_one(Preference, receipt.preference_id).ranks == [1, 2]
    other.dispose()


def test_a_double_click_is_one_vote(services: Services, container: Container, conversation: int) -> None:
    done = open_pair(services, conversation)
    first = vote(services, done.comparison_id, "right")
    again = vote(services, done.comparison_id, "right")
    assert again.preference_id == first.preference_id
    assert again.thread == first.thread
    with container.database.read() as session:
        assert session.scalar(select(func.count(Preference.id))) == 1


def test_a_changed_vote_swaps_the_branch_while_nothing_follows(services: Services, conversation: int) -> None:
    done = open_pair(services, conversation)
    vote(services, done.comparison_id, "left", key="first")
    changed = vote(services, done.comparison_id, "right", key="second")
    assert changed.thread is not None
    assert changed.thread.turns[-1].content == done.right
    assert changed.thread.turns[-1].sibling_count == 2
    late_retry = vote(services, done.comparison_id, "left", key="first")
    assert late_retry.thread is not None
    assert late_retry.thread.turns[-1].content == done.right


def test_a_changed_vote_keeps_a_branch_that_went_on(services: Services, conversation: int) -> None:
    done = open_pair(services, conversation)
    vote(services, done.comparison_id, "left", key="first")
    collect(services.chat.send(services.you, conversation, "And then?"))
    changed = vote(services, done.comparison_id, "right", key="second")
    assert changed.is_branch_kept
    assert changed.thread is not None
    assert changed.thread.turns[1].content == done.left
    assert len(changed.thread.turns) == 4


def test_asking_again_supersedes_the_open_comparison(services: Services, conversation: int) -> None:
    first = open_pair(services, conversation)
    second = open_pair(services, conversation, None)
    assert first.comparison_id is not None
    with pytest.raises(ComparisonSuperseded, match=f"comparison {second.comparison_id}"):
        vote(services, first.comparison_id, "left")
    vote(services, second.comparison_id, "left")


def test_a_vote_needs_an_own_existing_comparison(
    services: Services, container: Container, conversation: int
) -> None:
    done = open_pair(services, conversation)
    assert done.comparison_id is not None
    with container.database.write() as session:
        other = Person(make_user(session=session).id, "other", "annotator")
    answer = answer_for("left", idempotency_key="k")
    with pytest.raises(NotYourComparison):
        services.compare.vote(other, done.comparison_id, answer)
    with pytest.raises(NotFound):
        services.compare.get(other, done.comparison_id)
    with pytest.raises(ComparisonNotFound):
        services.compare.vote(services.you, 999, answer)
    with pytest.raises(InvalidRanking):
        services.compare.vote(services.you, done.comparison_id, Answer(ranks=(1, 3), idempotency_key="k"))


def test_stopping_leaves_no_comparison_and_the_message(
    services: Services, container: Container, conversation: int
) -> None:
    async def stop_at_once() -> list[str]:
        kinds = []
        async for event in services.compare.open_in_chat(services.you, conversation, "Hello!"):
            kinds.append(event.kind)
            services.chat.stop(services.you, conversation)
        return kinds

    assert asyncio.run(stop_at_once())[-1] == "stopped"
    assert services.chat.thread(services.you, conversation).is_unanswered
    with container.database.read() as session:
        assert session.scalar(select(func.count(Comparison.id))) == 0
    assert open_pair(services, conversation, None).kind == "done"


def test_a_program_gets_answers_to_its_prompt(services: Services) -> None:
    view = run(lambda: services.compare.open(services.you, [{"role": "user", "content": "Hello!"}], 3))
    assert len({shown.text for shown in view.completions}) == 3
    receipt = services.compare.vote(services.you, view.id, Answer(ranks=(2, 1, 3), idempotency_key="three"))
    assert (receipt.verdict, receipt.chosen_position, receipt.thread) == ("ranked", 1, None)


def test_the_library_asks_first_what_was_asked_least(services: Services, container: Container) -> None:
    with container.database.write() as session:
        kept = session.scalars(select(Prompt.id).where(Prompt.part == "training").limit(6)).all()
        session.execute(delete(Prompt).where(Prompt.id.not_in(kept)))
    ids = [run(lambda: services.compare.open(services.you)).id for _ in range(6)]
    with container.database.read() as session:
        assert {session.get_one(Comparison, one).prompt_id for one in ids} == set(kept)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "0 messages"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}], "of role assistant"),
    ],
)
def test_a_prompt_must_end_with_a_user_turn(
    services: Services, prompt: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(lambda: services.compare.open(services.you, prompt))


class TestWithGreedyDecoding:
    """Every answer to a prompt is the same, and takes all of its twelve tokens."""

    @pytest.fixture
    def settings(self, settings: Settings, steady_model: Path) -> Settings:
        decoding = settings.decoding.model_copy(update={"temperature": 0.0})
        return settings.model_copy(update={"model": str(steady_model), "decoding": decoding})

    def test_equal_answers_are_sampled_three_times_anew_and_then_shown(
        self, services: Services, container: Container, conversation: int
    ) -> None:
        done = open_pair(services, conversation)
        assert done.kind == "done"
        assert done.left == done.right
        assert container.engine.stats().tokens_generated == (2 + 3) * 12

    def test_a_program_gets_equal_answers_too_in_the_end(self, services: Services) -> None:
        view = run(lambda: services.compare.open(services.you, [{"role": "user", "content": "Hello!"}]))
        assert view.completions[0].text == view.completions[1].text


class TestWithAModelThatBreaks:
    """After loading, the weights become NaN, as on a broken GPU: every further answer fails."""

    @pytest.fixture
    def models(self, monkeypatch: pytest.MonkeyPatch) -> list[LoadedModel]:
        loaded: list[LoadedModel] = []
        load = chat_app.version_loading.load_policy

        def load_and_keep(*arguments: object, **options: object) -> LoadedModel:
            loaded.append(load(*arguments, **options))  # type: ignore[arg-type]
            return loaded[-1]

        monkeypatch.setattr(chat_app.version_loading, "load_policy", load_and_keep)
        return loaded

    def test_a_failed_answer_leaves_nothing_to_vote_on_and_a_retry_works(
        self, models: list[LoadedModel], services: Services, container: Container, conversation: int
    ) -> None:
        weight = next(models[0].model.parameters())
        whole = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(PairFailed, match="your message is kept"):
            open_pair(services, conversation)
        with pytest.raises(PairFailed):
            run(lambda: services.compare.open(services.you))
        with container.database.read() as session:
            assert session.scalar(select(func.count(Completion.id))) == 0
        with torch.no_grad():
            weight.copy_(whole)
        assert open_pair(services, conversation, None).kind == "done"
