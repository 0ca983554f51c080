"""Every page in both languages, light and dark, on a desk and a phone: legible, reachable and named."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.looks import low_contrast, overflow, small_targets, unnamed
from tests.browser.service import RapportProcess
from tests.browser.steps import ask_pair, compare, say

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
DRAWN = {"chat": ".r-empty", "train": ".r-tiles", "models": ".r-table"}


def check_looks(page: Page) -> None:
    page.wait_for_timeout(300)  # transitions of colours
    assert low_contrast(page) == []
    assert small_targets(page) == []
    assert unnamed(page) == []
    assert overflow(page) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_are_legible_on_a_phone(
    rapport: RapportProcess, open_page: OpenPage, language: str, scheme: str
) -> None:
    page = open_page(rapport, f"/{language}/chat/", scheme=scheme, **PHONE)
    for name, drawn in DRAWN.items():
        page.goto(f"{rapport.url}/{language}/{name}/")
        expect(page.locator(drawn).first).to_be_visible()
        check_looks(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_comparison_fits_a_phone(rapport: RapportProcess, open_page: OpenPage, scheme: str) -> None:
    page = open_page(rapport, "/en/chat/", scheme=scheme, **PHONE)
    say(page, "Hello")
    compare(page, True)
    ask_pair(page, "And now two?")
    check_looks(page)
    left, right = (pane.bounding_box() for pane in page.locator(".r-pane").all())
    assert left is not None
    assert right is not None
    assert left["y"] + left["height"] <= right["y"]  # stacked
    last = page.get_by_role("button", name="Both bad").bounding_box()
    assert last is not None
    assert last["y"] + last["height"] < 844  # no scrolling before one can vote


def test_the_conversations_cover_a_phone_only_when_asked_for(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/", **PHONE)
    new = page.get_by_role("link", name="New conversation")
    expect(page.locator(".r-empty")).to_be_visible()
    expect(new).to_be_hidden()
    page.get_by_role("button", name="Conversations", exact=False).first.click()
    expect(new).to_be_visible()
    page.keyboard.press("Escape")
    expect(new).to_be_hidden()


def test_the_language_changes_and_the_conversation_stays(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/")
    say(page, "Language test")
    page.get_by_role("link", name="中文").click()
    expect(page.locator(".r-user .r-bubble")).to_have_text(["Language test"])
    expect(page.locator("#r-send")).to_have_text("发送")
    assert page.url.startswith(f"{rapport.url}/zh/chat/?c=")
    assert page.evaluate("[document.documentElement.lang, navigator.language]") == ["zh-CN", "zh-CN"]
    page.goto(rapport.url + "/")  # the choice is remembered
    expect(page.locator(".r-empty h1")).to_have_text("说点什么吧")
    page.get_by_role("link", name="训练").click()
    expect(page.locator(".r-nav [aria-current=page]")).to_have_text("训练")
    assert page.title() == "训练 · Rapport"


def test_a_browser_in_chinese_is_greeted_in_chinese(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/", locale="zh-CN")
    expect(page.locator(".r-empty h1")).to_have_text("说点什么吧")


def test_too_few_votes_are_told_on_the_page(slow_rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(slow_rapport, "/en/train/")
    expect(page.locator(".r-status .r-caption")).to_contain_text("more votes are needed")
    page.get_by_role("button", name="Retrain", exact=True).click()
    expect(page.locator(".r-notice.r-error")).to_contain_text("retraining needs at least 20")


def test_the_keyboard_skips_to_the_composer(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    expect(page.locator(".r-empty")).to_be_visible()
    page.locator(".r-brand").focus()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#r-message textarea")).to_be_focused()
