"""Two blind answers in the browser: no early vote, one vote per comparison, and what a vote tells."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.service import RapportProcess
from tests.browser.steps import MESSAGE, VOTE, ask_pair, compare, send, vote

pytestmark = pytest.mark.browser


def test_a_double_click_is_one_vote(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    compare(page, True)
    [(before,)] = rapport.rows("select count(*) from preference")
    ask_pair(page, "Once, please.")
    page.get_by_role("button", name="B is better").dblclick()
    expect(page.locator(".r-notice.r-info")).to_contain_text("You preferred B.")
    expect(page.locator(".r-notice.r-info")).to_contain_text("A was written by")
    page.wait_for_timeout(500)
    assert rapport.rows("select count(*) from preference") == [(before + 1,)]
    [(ranks, seconds)] = rapport.rows("select ranks, seconds from preference order by id desc limit 1")
    assert ranks == "[2, 1]"
    assert 0 < seconds < 600


def test_the_conversation_goes_on_with_the_chosen_answer(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/")
    compare(page, True)
    ask_pair(page, "Which one?")
    chosen = page.locator(".r-pane .r-bubble").last.inner_text()
    vote(page, "B is better")
    assert page.locator(".r-model .r-bubble").inner_text() == chosen
    expect(page.locator(".r-model .r-caption")).to_contain_text("you chose this one of two")


def test_two_answers_wait_for_the_vote_across_a_reload(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    compare(page, True)
    ask_pair(page, "Wait for me.")
    left = page.locator(".r-pane .r-bubble").first.inner_text()
    page.reload()
    expect(page.locator(VOTE)).to_have_count(4)
    assert page.locator(".r-pane .r-bubble").first.inner_text() == left
    expect(page.locator("#r-compare input")).to_be_checked()  # the switch is remembered
    send(page, "Not yet chosen")
    expect(page.locator(".r-notice.r-error")).to_contain_text("Two answers wait for your choice")
    expect(page.locator(MESSAGE)).to_have_value("Not yet chosen")
    vote(page, "Equally good")


def test_no_vote_before_both_answers_are_finished(slow_rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(slow_rapport, "/en/chat/")
    compare(page, True)
    send(page, "Two long stories.")
    expect(page.locator("[aria-busy] .r-bubble p").first).to_be_visible()
    expect(page.locator(".r-vote")).to_have_count(4)
    expect(page.locator(VOTE)).to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".r-notice.r-info")).to_contain_text("nothing to vote on")
    expect(page.locator(".r-note")).to_contain_text("This message has no answer yet")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".r-model .r-caption").last).to_contain_text("answered by")
