"""What the chat page shows of two answers, and how it thanks for a vote."""

from chat_app.presenters.compare import pair_card, thanks_text, waiting_pair_card
from chat_app.services.pair import PairEvent
from chat_app.services.thread import ComparisonView, ShownCompletion, Thread
from chat_app.services.voting import VoteReceipt
from chat_app.words import EN, ZH

THREAD = Thread(1, "t", (), open_comparison=None, is_answering=False, is_unanswered=False)


def receipt(**facts: object) -> VoteReceipt:
    values = {
        "preference_id": 1,
        "comparison_id": 2,
        "verdict": "right",
        "version_names": ("sft", "policy-3"),
        "chosen_position": 1,
        "thread": THREAD,
    }
    return VoteReceipt(**{**values, **facts})  # type: ignore[arg-type]


def test_there_is_no_vote_before_both_are_stored() -> None:
    card = pair_card(PairEvent("text", "one", "two", is_left_done=True, is_right_done=True), EN)
    assert not card.can_vote
    assert card.status == "You can vote when both are finished."
    assert (card.left.status, card.right.status) == ("", "")


def test_each_answer_tells_whether_it_is_still_written() -> None:
    card = pair_card(PairEvent("text", "one", "tw", is_left_done=True), EN)
    assert (card.left.status, card.right.status) == ("", "writing…")


def test_complete_answers_can_be_voted_on_with_one_key() -> None:
    card = pair_card(PairEvent("done", "one", "two", True, True, comparison_id=5), EN, vote_key="k")
    assert card.can_vote
    assert (card.comparison_id, card.vote_key, card.status) == (5, "k", "Which answer is better?")


def test_a_waiting_comparison_is_shown_again() -> None:
    shown = (ShownCompletion(0, "one", None), ShownCompletion(1, "two", None))
    view = ComparisonView(9, "chat", (), shown, conversation_id=1, verdict=None)
    card = waiting_pair_card(view, EN, vote_key="k")
    assert (card.comparison_id, card.left.html, card.right.html) == (9, "<p>one</p>\n", "<p>two</p>\n")


def test_the_thanks_name_the_versions_and_where_it_goes_on() -> None:
    assert thanks_text(receipt(), EN) == (
        "Thank you, your vote is stored. You preferred B. A was written by sft. B was written by policy-3. "
        "The conversation goes on with Answer B."
    )
    assert thanks_text(receipt(), ZH) == (
        "谢谢，你的投票已保存。你更喜欢 B。A 由 sft 写成。B 由 policy-3 写成。对话从回答 B继续。"
    )


def test_a_vote_that_moves_no_conversation_does_not_say_so() -> None:
    assert "goes on" not in thanks_text(receipt(is_branch_kept=True), EN)
    assert "goes on" not in thanks_text(receipt(thread=None), EN)
