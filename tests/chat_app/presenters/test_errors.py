"""Errors are told in the page's language."""

from chat_app.errors import MessageTooLong, NotFound
from chat_app.presenters.errors import error_code, error_text
from chat_app.words import EN, ZH
from feedback.errors import ComparisonSuperseded


def test_a_domain_error_is_told_with_its_facts() -> None:
    error = MessageTooLong(5000, 4000)
    assert error_text(error, ZH) == "消息有 5,000 个字符，上限是 4,000 个。请缩短，或分几次发送。"
    assert error_text(error, EN) == (
        "The message has 5,000 characters; the limit is 4,000. Shorten it, or send it in several parts."
    )


def test_an_error_without_a_code_is_known_by_its_class() -> None:
    error = ComparisonSuperseded("Comparison 3 was replaced.")
    assert error_code(error) == "comparison_superseded"
    assert error_text(error, ZH).startswith("这个比较已被更新的比较取代。")
    assert error_text(error, EN) == "Comparison 3 was replaced."


def test_a_sentence_whose_facts_are_missing_falls_back_to_the_errors_own_words() -> None:
    error = NotFound("conversation", 3)
    error.facts = {}
    assert error_text(error, ZH) == "There is no conversation 3. Reload to see what there is."
