"""What a person does on the pages, as steps for the tests."""

from playwright.sync_api import Page, expect

MESSAGE = "#r-message textarea"
VOTE = ".r-vote:not([disabled])"


def send(page: Page, text: str) -> None:
    """Write a message and press Enter, once the page has drawn its conversation."""
    expect(page.locator(".r-thread")).to_be_visible()
    page.fill(MESSAGE, text)
    page.press(MESSAGE, "Enter")


def say(page: Page, text: str) -> str:
    """Send a message, wait for its answer and return it."""
    answers = page.locator(".r-thread .r-model .r-bubble").count()
    send(page, text)
    expect(page.locator(".r-thread .r-model .r-bubble")).to_have_count(answers + 1)
    expect(page.locator("#r-send")).to_be_visible()
    return page.locator(".r-thread .r-model .r-bubble").last.inner_text()


def compare(page: Page, is_on: bool) -> None:
    """Set the switch for two answers."""
    page.locator("#r-compare input").set_checked(is_on)


def ask_pair(page: Page, text: str) -> None:
    """Send a message with the switch on, and wait until both answers can be voted on."""
    send(page, text)
    expect(page.locator(VOTE)).to_have_count(4)


def vote(page: Page, label: str) -> None:
    """Press a vote button and wait for the thanks."""
    page.get_by_role("button", name=label, exact=True).click()
    expect(page.locator(".r-pair")).to_have_count(0)
    expect(page.locator(".r-notice.r-info")).to_contain_text("your vote is stored")
