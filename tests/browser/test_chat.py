"""Conversations in the browser: written, answered again, changed, stopped, undone, kept and shared."""

import re

import pytest
from playwright.sync_api import expect

from db.engine import open_database
from db.settings import DatabaseSettings
from tests.browser.conftest import OpenPage
from tests.browser.service import RapportProcess
from tests.browser.steps import MESSAGE, compare, say, send
from tests.tiny_model import make_tiny_model
from training.registry import Registry

pytestmark = pytest.mark.browser


def test_a_conversation_is_the_same_after_a_reload_and_in_a_second_browser(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/")
    answer = say(page, "Remember the blue door.")
    assert "?c=" in page.url
    page.reload()
    expect(page.locator(".r-user .r-bubble")).to_have_text(["Remember the blue door."])
    assert page.locator(".r-model .r-bubble").inner_text() == answer
    second = open_page(rapport, page.url.removeprefix(rapport.url))
    expect(second.locator(".r-user .r-bubble")).to_have_text(["Remember the blue door."])
    assert second.locator(".r-model .r-bubble").inner_text() == answer
    expect(second.locator(".r-conversations [aria-current]")).to_have_text("Remember the blue door.")


def test_an_opening_begins_a_conversation(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    page.get_by_role("button", name="What should I cook tonight?").click()
    expect(page.locator(".r-model .r-caption")).to_contain_text("answered by")
    expect(page.locator(".r-user .r-bubble")).to_have_text(["What should I cook tonight?"])


def test_answering_again_and_editing_keep_the_old_variants(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/")
    first = say(page, "One")
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".r-variants")).to_contain_text("2/2")
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".r-variants")).to_contain_text("1/2")
    assert page.locator(".r-model .r-bubble").inner_text() == first

    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(MESSAGE)).to_have_value("One")
    send(page, "Two")
    expect(page.locator(".r-user .r-bubble")).to_have_text(["Two"])
    expect(page.locator(".r-user .r-variants")).to_contain_text("2/2")
    expect(page.locator("#r-send")).to_be_visible()
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".r-user .r-bubble")).to_have_text(["One"])


def test_undo_gives_the_message_back(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    say(page, "First")
    say(page, "Second")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".r-user .r-bubble")).to_have_text(["First"])
    expect(page.locator(MESSAGE)).to_have_value("Second")


def test_a_message_that_is_too_long_stays_in_the_composer(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(rapport, "/en/chat/")
    text = "long " * 1000
    send(page, text)
    expect(page.locator(".r-notice.r-error")).to_contain_text("the limit is 4,000")
    expect(page.locator(MESSAGE)).to_have_value(text)
    send(page, "   ")
    expect(page.locator(".r-notice.r-error")).to_contain_text("The message is empty")


def test_markup_and_templates_in_a_message_are_text(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    text = "<img src=x onerror=\"document.title='owned'\"> ${document.write('owned')} `{{value}}` \\u0041"
    say(page, text)
    expect(page.locator(".r-user .r-bubble")).to_have_text([text])
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(MESSAGE)).to_have_value(text)
    page.reload()
    expect(page.locator(".r-user .r-bubble")).to_have_text([text])
    assert page.title() == "Chat · Rapport"
    assert page.locator(".r-thread img").count() == 0


def test_conversations_are_renamed_and_deleted(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/")
    say(page, "To be renamed")
    page.once("dialog", lambda dialog: dialog.accept("Renamed <b>by hand</b>"))
    page.get_by_role("button", name="Rename").click()
    expect(page.locator(".r-conversations [aria-current]")).to_have_text("Renamed <b>by hand</b>")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".r-empty")).to_be_visible()
    expect(page.locator(".r-conversations")).not_to_contain_text("Renamed")


def test_a_conversation_that_is_not_there_is_told(rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(rapport, "/en/chat/?c=99999")
    expect(page.locator(".r-notice.r-error")).to_contain_text("There is no conversation 99999")
    expect(page.locator(".r-empty")).to_be_visible()


def test_stop_keeps_what_was_written(slow_rapport: RapportProcess, open_page: OpenPage) -> None:
    page = open_page(slow_rapport, "/en/chat/")
    send(page, "Tell me a long story.")
    expect(page.locator("[aria-busy] .r-bubble p")).to_be_visible()  # the first words
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".r-model .r-caption")).to_contain_text("stopped")
    expect(page.locator("#r-send")).to_be_visible()
    [(tokens,)] = slow_rapport.rows(
        "select json_array_length(token_ids) from completion order by id desc limit 1"
    )
    assert 0 < tokens < 250
    assert "Traceback" not in (slow_rapport.data_dir / "serve-output.txt").read_text(encoding="utf-8")


def test_reloading_in_the_middle_of_an_answer_loses_nothing(
    slow_rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(slow_rapport, "/en/chat/", is_left_early=True)
    send(page, "Tell me another long story.")
    expect(page.locator("[aria-busy] .r-bubble p")).to_be_visible()
    page.reload()
    expect(page.locator(".r-user .r-bubble")).to_have_text(["Tell me another long story."])
    expect(page.locator(".r-model .r-caption")).to_contain_text("answered by")


def test_another_tab_shows_the_answer_when_it_is_there(
    slow_rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(slow_rapport, "/en/chat/")
    send(page, "A story for two tabs.")
    expect(page.locator("[aria-busy] .r-bubble p")).to_be_visible()
    second = open_page(slow_rapport, page.url.removeprefix(slow_rapport.url))
    expect(second.locator(".r-model .r-caption")).to_contain_text("answered by")
    expect(page.locator(".r-model .r-caption").last).to_contain_text("answered by")


def test_what_is_typed_while_the_model_answers_stays(
    slow_rapport: RapportProcess, open_page: OpenPage
) -> None:
    page = open_page(slow_rapport, "/en/chat/")
    compare(page, False)
    send(page, "A third long story.")
    expect(page.locator("#r-stop")).to_be_visible()
    page.locator(MESSAGE).press_sequentially("typed meanwhile")
    expect(page.locator(".r-model .r-caption").last).to_contain_text("answered by")
    expect(page.locator(MESSAGE)).to_have_value("typed meanwhile")


def test_a_version_and_its_context_are_chosen_shown_and_remembered(
    rapport: RapportProcess, open_page: OpenPage
) -> None:
    version = add_pretrained(rapport)
    page = open_page(rapport, "/en/models/")
    row = page.locator(f'tr[data-version="{version}"]')
    expect(row).to_contain_text("has not been taught to chat")
    row.get_by_role("link", name="Chat with it").click()
    expect(page.locator("#r-version input")).to_have_value(f"base-{version}")
    page.locator("#r-context input").click()
    page.get_by_role("option", name="Four examples (few-shot)").click()
    expect(page.locator(".r-hint")).to_contain_text("Examples help most with the base version")

    say(page, "What is for dinner?")
    caption = f"answered by base-{version} · after 4 examples"
    expect(page.locator(".r-model .r-caption")).to_have_text(caption)
    expect(page.locator(".r-user .r-bubble")).to_have_text(["What is for dinner?"])

    page.reload()
    expect(page.locator("#r-version input")).to_have_value(f"base-{version}")
    expect(page.locator("#r-context input")).to_have_value("Four examples (few-shot)")
    page.wait_for_load_state("networkidle")  # leaving in the middle of loading is told on the console
    page.get_by_role("link", name="New conversation").click()
    expect(page.locator("#r-version input")).to_have_value(re.compile(r"^As served: \S+"))
    expect(page.locator("#r-context input")).to_have_value("No examples (zero-shot)")


def add_pretrained(rapport: RapportProcess) -> int:
    """List a second random model in the service's database, as its package would bring the pretrained base."""
    folder = make_tiny_model(rapport.data_dir / "pretrained", seed=3, context=512)
    database = open_database(DatabaseSettings(url=f"sqlite:///{rapport.data_dir / 'rapport.db'}"))
    registry = Registry(database=database, models_dir=rapport.data_dir / "models")
    version = registry.add_version(
        kind="base", name_hint="base", folder=folder, metrics={}, start_id=None, anchor_id=None,
        reward_id=None, job_id=None,
    )  # fmt: skip
    database.dispose()
    return version
