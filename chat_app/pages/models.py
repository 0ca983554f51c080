"""The models page: every version with its lineage and verdict, what answers now, and rolling back."""

import asyncio
from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.pages.blocks import html_block
from chat_app.pages.events import Updates, on, on_load
from chat_app.pages.markup import render
from chat_app.pages.navigation import navigation_bar, page_title
from chat_app.pages.notices import notice_text
from chat_app.pages.promotion import PromotionHandlers, promotion_panel
from chat_app.presenters.versions import version_lines
from chat_app.words import Words
from training.registry import VersionInfo


def build_models(services: Services, words: Words) -> gr.Blocks:
    """Lay out the page in one language and connect it to the services."""
    with gr.Blocks(title=page_title("models", words), analytics_enabled=False, fill_width=True) as page:
        html_block(navigation_bar("models", words))
        with gr.Column(elem_id="r-content", elem_classes="r-page"):
            heading = render("heading", title=words.models.title, intro=words.models.intro)
            html_block(heading)
            panel = promotion_panel(words)
            versions = html_block("", "promote", "force")
            may_serve = services.you.may("serve versions")
            with gr.Row(elem_classes="r-buttons"):
                back = gr.Button(words.models.roll_back, elem_id="r-roll-back", scale=0, visible=may_serve)
        handlers = ModelsHandlers(services, words, versions, panel.notice)
        on_load(page, handlers.open, [versions, panel.notice])
        PromotionHandlers(services, words, panel, handlers.redraw).connect(versions, [versions])
        on(back.click, handlers.roll_back, [], [versions, panel.notice])
    return page


class ModelsHandlers:
    """The handlers of one models page."""

    def __init__(self, services: Services, words: Words, versions: Any, notice: Any) -> None:
        self._services = services
        self._words = words
        self._versions = versions
        self._notice = notice

    async def redraw(self, version: VersionInfo) -> Updates:
        """Draw the list after a version was promoted."""
        return await self.open()

    async def open(self) -> Updates:
        """Draw the list of versions."""
        try:
            versions = await asyncio.to_thread(self._services.versions.list, self._services.you)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        may_serve = self._services.you.may("serve versions")
        lines = version_lines(versions, self._words, may_serve=may_serve)
        return {
            self._versions: render(
                "versions", lines=lines, has_votes=any(line.votes for line in lines), words=self._words
            )
        }

    async def roll_back(self) -> Updates:
        """Serve the version that was served before."""
        try:
            version = await asyncio.to_thread(self._services.versions.roll_back, self._services.you)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        return await self.open() | self._told(self._words.models.rolled_back.format(version=version.name))

    def _told(self, text: str, *, is_error: bool = False) -> Updates:
        return {self._notice: render("notice", text=text, is_error=is_error)}
