"""The whole loop by hand: chat, votes, retraining, verdict, promote anyway, an answer of the new version."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.service import RapportProcess
from tests.browser.steps import ask_pair, compare, say, vote

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

LABELS = ("A is better", "B is better", "A is better", "Equally good", "Both bad")


def test_five_votes_become_a_version_that_answers(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    assert say(page, "Hello, who are you?")
    expect(page.locator(".r-model .r-caption").last).to_contain_text("answered by sft")
    [(before,)] = rapport.rows("select count(*) from preference")
    compare(page, True)
    for number, label in enumerate(LABELS):
        ask_pair(page, f"Question {number}?")
        vote(page, label)
    assert rapport.rows("select count(*) from preference") == [(before + 5,)]
    last = "select ranks, is_both_bad from preference order by id desc limit 5"
    assert rapport.rows(last) == [("[1, 1]", 1), ("[1, 1]", 0), ("[1, 2]", 0), ("[2, 1]", 0), ("[1, 2]", 0)]

    page.get_by_role("link", name="Train").click()
    expect(page.locator(".r-tiles").first).to_contain_text("Votes in all")
    expect(page.locator(".r-tiles dd").first).to_have_text(str(before + 5))
    page.get_by_role("button", name="Retrain", exact=True).click()
    expect(page.locator(".r-job h2")).to_have_text("Retraining 1")

    page.reload()  # in mid-job
    expect(page.locator(".r-job h2")).to_have_text("Retraining 1")
    second = open_page(rapport, "/zh/train/")
    expect(second.locator(".r-job h2")).to_have_text("训练 1")
    expect(page.locator("#r-retrain")).to_be_disabled()

    expect(page.locator(".r-job .r-badge")).to_have_text("Finished", timeout=600_000)
    expect(page.locator(".r-verdict .r-badge")).to_have_text("Not enough evidence")
    expect(page.locator("[data-metric='ppo/score'] polyline")).to_have_count(1)
    expect(second.locator(".r-verdict .r-badge")).to_have_text("证据不足")

    page.get_by_role("button", name="Promote anyway").click()
    page.get_by_role("button", name="Promote", exact=True).click()
    expect(page.locator(".r-notice.r-error")).to_contain_text("needs a reason")
    page.get_by_label("Your reason").fill("I read its answers and like them.")
    page.get_by_role("button", name="Promote", exact=True).click()
    [(trained,)] = rapport.rows("select name from model_version where kind = 'policy'")
    expect(page.locator(".r-notice.r-info")).to_contain_text(f"{trained} answers now")
    assert rapport.rows("select name from model_version where state = 'serving'") == [(trained,)]
    assert rapport.rows(
        "select count(*) from audit_event where action like '%promote%' and detail like ?", "%like them%"
    ) == [(1,)]

    page.get_by_role("link", name="Chat").click()
    compare(page, False)
    page.wait_for_timeout(2500)  # the running app serves it within two seconds
    say(page, "And who are you now?")
    expect(page.locator(".r-model .r-caption").last).to_contain_text(f"answered by {trained}")

    page.get_by_role("link", name="Models").click()
    expect(page.locator("tr.r-current")).to_contain_text(trained)
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator(".r-notice.r-info")).to_contain_text("sft answers now")
    expect(page.locator("tr.r-current")).to_contain_text("sft")
