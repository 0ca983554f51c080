"""A busy service in the browser: the place in the queue, a refusal that keeps what was typed, and trying again."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.service import RapportProcess
from tests.browser.steps import MESSAGE, compare, send

pytestmark = pytest.mark.browser


def stop(page: Page) -> None:
    page.locator("#r-stop").click()
    expect(page.locator("#r-send")).to_be_visible()


def test_a_full_queue_keeps_what_was_typed_in_both_languages(
    small_rapport: RapportProcess, open_page: OpenPage
) -> None:
    running, waiting, english, chinese, comparing = (
        open_page(small_rapport, f"/{language}/chat/") for language in ("en", "zh", "en", "zh", "en")
    )
    for page, is_pair in (
        (running, True),
        (waiting, True),
        (english, False),
        (chinese, False),
        (comparing, True),
    ):
        expect(page.locator(".r-empty")).to_be_visible()
        compare(page, is_pair)
    send(running, "Two long stories.")
    expect(running.locator("[aria-busy] .r-bubble p").first).to_be_visible()
    send(waiting, "还要两个故事。")
    expect(waiting.locator(".r-pane .r-caption").first).to_have_text("排队中：第 1 位。")

    send(english, "What I typed with care.")
    full = "Too many people ask at once: 2 answers are waiting already. What you wrote is kept; try again in"
    expect(english.locator(".r-notice.r-error")).to_have_text(re.compile(re.escape(full) + r" \d+ s\."))
    expect(english.locator(MESSAGE)).to_have_value("What I typed with care.")
    send(chinese, "我认真写的话。")
    expect(chinese.locator(".r-notice.r-error")).to_have_text(
        re.compile(r"^提问的人太多了：已有 2 个回答在排队。你写的内容还在，请在 \d+ 秒后再试。$")
    )
    expect(chinese.locator(MESSAGE)).to_have_value("我认真写的话。")
    send(comparing, "Compare this.")
    expect(comparing.locator(".r-notice.r-error")).to_contain_text("What you wrote is kept")
    expect(comparing.locator(MESSAGE)).to_have_value("Compare this.")
    assert small_rapport.rows("select count(*) from message where role = 'user'") == [(2,)]

    stop(waiting)
    expect(waiting.locator(".r-user .r-bubble")).to_have_text(["还要两个故事。"])
    expect(waiting.locator(".r-note")).to_contain_text("这条消息还没有回答。")
    stop(running)
    english.press(MESSAGE, "Enter")
    expect(english.locator(".r-user .r-bubble")).to_have_text(["What I typed with care."])
    expect(english.locator("[aria-busy] .r-bubble p")).to_be_visible()
    expect(english.locator(MESSAGE)).to_have_value("")
    expect(english.locator(".r-notice.r-error")).to_have_count(0)
    waiting.get_by_role("button", name="再试一次").click()
    expect(waiting.locator("[aria-busy] .r-bubble p")).to_be_visible()
    stop(waiting)
    stop(english)
