"""What the chat page shows of a thread."""

from datetime import UTC, datetime

from chat_app.presenters.chat import conversation_lines, live_card, thread_card, version_options, waiting_text
from chat_app.services.chat import ChatEvent
from chat_app.services.thread import ConversationSummary, Thread, Turn
from chat_app.words import EN
from tests.chat_app.presenters.test_versions import version


def turn(message_id: int, role: str, content: str = "text", **facts: object) -> Turn:
    values = {"version_name": None, "sibling_index": 0, "sibling_count": 1, "completion_id": None}
    return Turn(message_id, role, content, **{**values, **facts})  # type: ignore[arg-type]


def thread(*turns: Turn, **facts: object) -> Thread:
    values = {"open_comparison": None, "is_answering": False, "is_unanswered": False}
    return Thread(7, "title", turns, **{**values, **facts})  # type: ignore[arg-type]


def test_only_the_last_exchange_has_buttons() -> None:
    card = thread_card(
        thread(turn(1, "user"), turn(2, "assistant"), turn(3, "user"), turn(4, "assistant")), EN
    )
    assert [[action.name for action in shown.actions] for shown in card.turns] == [
        [],
        [],
        ["edit", "undo"],
        ["retry", "pair"],
    ]


def test_nothing_can_be_done_while_an_answer_is_written() -> None:
    card = thread_card(thread(turn(1, "user"), is_answering=True), EN, is_own_answer=True)
    assert card.turns[0].actions == ()
    assert card.note == ""


def test_an_answer_written_in_another_tab_is_told() -> None:
    card = thread_card(thread(turn(1, "user"), is_answering=True), EN)
    assert card.note == "This is being answered in another tab; the answer will appear here."


def test_an_unanswered_message_offers_to_try_again() -> None:
    card = thread_card(thread(turn(1, "user"), is_unanswered=True), EN)
    assert [action.label for action in card.note_actions] == ["Try again", "Compare two"]


def test_a_chosen_and_a_stopped_answer_say_so() -> None:
    chosen = turn(2, "assistant", version_name="sft", verdict="left", comparison_id=1)
    stopped = turn(4, "assistant", version_name="policy-3", is_stopped=True)
    card = thread_card(thread(turn(1, "user"), chosen, turn(3, "user"), stopped), EN)
    assert card.turns[1].captions == ("answered by sft", "you chose this one of two")
    assert card.turns[3].captions == ("stopped", "answered by policy-3")


def test_an_answer_after_examples_says_so() -> None:
    card = thread_card(
        thread(turn(1, "user"), turn(2, "assistant", version_name="base", example_exchanges=3)), EN
    )
    assert card.turns[1].captions == ("answered by base", "after 3 examples")


def test_every_version_that_can_chat_is_offered_behind_the_one_that_serves() -> None:
    versions = [
        version(3, name="policy-3", state="serving"),
        version(2, name="reward-2", kind="reward"),
        version(1, name="base", kind="base"),
    ]
    assert version_options(versions, EN) == [("As served: policy-3", 0), ("policy-3", 3), ("base", 1)]
    assert version_options([], EN) == [("As served: –", 0)]


def test_variants_know_where_they_end() -> None:
    card = thread_card(thread(turn(1, "user"), turn(2, "assistant", sibling_index=2, sibling_count=3)), EN)
    variants = card.turns[1].variants
    assert variants is not None
    assert (variants.label, variants.spoken) == ("3/3", "Version 3 of 3")
    assert (variants.has_earlier, variants.has_later) == (True, False)
    assert card.turns[0].variants is None


def test_the_list_leaves_out_conversations_that_have_not_begun() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    summaries = [ConversationSummary(3, "", now), ConversationSummary(2, "", now)]
    lines = conversation_lines([*summaries, ConversationSummary(1, "Soup", now)], 2, EN)
    assert [(line.id, line.title, line.is_current) for line in lines] == [
        (2, "Untitled conversation", True),
        (1, "Soup", False),
    ]


def test_the_place_in_the_queue_is_told() -> None:
    assert waiting_text(3, EN) == "Waiting: number 3 in the queue."
    assert waiting_text(0, EN) == "Answering…"
    card = live_card(ChatEvent("queued", position=2), EN)
    assert (card.status, card.html) == ("Waiting: number 2 in the queue.", None)


def test_a_growing_answer_is_markdown() -> None:
    card = live_card(ChatEvent("text", text="I like **soup**"), EN)
    assert card.html == "<p>I like <strong>soup</strong></p>\n"
