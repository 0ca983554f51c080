"""The panel that serves a version against the gate: it asks for a reason, which the audit keeps."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.pages.blocks import html_block
from chat_app.pages.events import Updates, on
from chat_app.pages.markup import render
from chat_app.pages.notices import notice_text
from chat_app.pages.page_events import event_data, event_id, whole
from chat_app.presenters.versions import gate_report
from chat_app.words import Words
from training.registry import VersionInfo

Redraw = Callable[[VersionInfo], Awaitable[Updates]]


@dataclass(frozen=True, slots=True)
class PromotionPanel:
    """The components of the panel, and the notice where its outcome is told; `version` holds an id."""

    group: Any
    text: Any
    reason: Any
    confirm: Any
    cancel: Any
    version: Any
    notice: Any

    def outputs(self) -> list[Any]:
        """Every component a handler may fill."""
        return [self.group, self.text, self.reason, self.version, self.notice]


def promotion_panel(words: Words) -> PromotionPanel:
    """Lay the panel out, hidden, with its notice below."""
    with gr.Column(visible=False, elem_id="r-promotion") as group:
        text = html_block()
        reason = gr.Textbox(
            label=words.models.reason,
            placeholder=words.models.reason_hint,
            lines=2,
            max_lines=6,
            max_length=500,
            elem_id="r-reason",
            interactive=True,
        )
        with gr.Row(elem_classes="r-buttons"):
            confirm = gr.Button(words.models.confirm, variant="primary", elem_id="r-confirm", scale=0)
            cancel = gr.Button(words.models.cancel, elem_id="r-leave", scale=0)
    notice = html_block()
    version = gr.Number(visible=False, precision=0)
    return PromotionPanel(group, text, reason, confirm, cancel, version, notice)


class PromotionHandlers:
    """Opens and closes the panel, and serves a version; `redraw` draws the page it is on afterwards."""

    def __init__(self, services: Services, words: Words, panel: PromotionPanel, redraw: Redraw) -> None:
        self._services = services
        self._words = words
        self._panel = panel
        self._redraw = redraw

    def connect(self, source: Any, outputs: list[Any]) -> None:
        """Listen to the buttons "promote" and "force" of a component's markup, and to the panel's own."""
        panel = self._panel
        everything = [*outputs, *panel.outputs()]
        on(source.promote, self.promote, [], everything)
        on(source.force, self.open, [], everything).then(fn=None, js=_FOCUS_REASON)
        on(panel.confirm.click, self.confirm, [panel.version, panel.reason], everything)
        on(panel.cancel.click, self.close, [], everything)

    async def open(self, event: gr.EventData) -> Updates:
        """Ask for the reason."""
        try:
            version_id = event_id(event_data(event))
            version = await asyncio.to_thread(self._services.versions.get, self._services.you, version_id)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        verdict = str(gate_report(version).get("verdict", ""))
        said = self._words.train.verdicts.get(verdict, self._words.models.no_verdict)
        text = render(
            "promotion",
            heading=self._words.models.promote_heading.format(version=version.name),
            warning=self._words.models.promote_warning.format(verdict=said),
        )
        panel = self._panel
        return {
            panel.group: gr.update(visible=True),
            panel.text: text,
            panel.reason: "",
            panel.version: version.id,
            panel.notice: "",
        }

    async def close(self) -> Updates:
        """Leave it."""
        return {self._panel.group: gr.update(visible=False)}

    async def confirm(self, version_id: float | None, reason: str) -> Updates:
        """Serve the version with the reason that was given; without one the panel stays and says so."""
        return await self._serve(self._services.versions.promote_anyway, whole(version_id) or 0, reason)

    async def promote(self, event: gr.EventData) -> Updates:
        """Serve a version that passed the gate, or served before."""
        try:
            version_id = event_id(event_data(event))
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        return await self._serve(self._services.versions.promote, version_id)

    async def _serve(self, act: Callable[..., Any], *arguments: Any) -> Updates:
        try:
            version = await asyncio.to_thread(act, self._services.you, *arguments)
            told = self._told(self._words.models.promoted.format(version=version.name))
            return await self._redraw(version) | told | {self._panel.group: gr.update(visible=False)}
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)

    def _told(self, text: str, *, is_error: bool = False) -> Updates:
        return {self._panel.notice: render("notice", text=text, is_error=is_error)}


_FOCUS_REASON = (
    "() => { const area = document.querySelector('#r-reason textarea');"
    " area?.scrollIntoView({ block: 'center' }); area?.focus(); }"
)
