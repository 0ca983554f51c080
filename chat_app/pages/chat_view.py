"""The parts of the chat page that handlers fill, and how each is drawn; nothing here asks a service."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from chat_app.pages.events import Updates
from chat_app.pages.markup import render
from chat_app.presenters.chat import (
    AS_SERVED_OPTION,
    FEW_SHOT,
    ZERO_SHOT,
    ConversationLine,
    LiveCard,
    ThreadCard,
    empty_thread,
    version_options,
)
from chat_app.presenters.compare import PairCard
from chat_app.services.choice import AnswerChoice
from chat_app.words import Words
from training.registry import VersionInfo

CHOICES = ("left", "right", "tie", "both_bad")


@dataclass(frozen=True, slots=True)
class ChatView:
    """The components of one chat page; `conversation` and `editing` hold ids and are not shown."""

    conversations: Any
    thread: Any
    live: Any
    pair: Any
    notice: Any
    announcement: Any
    editing_bar: Any
    message: Any
    send: Any
    stop: Any
    version: Any
    context: Any
    context_hint: Any
    conversation: Any
    editing: Any
    refresh: Any

    def outputs(self) -> list[Any]:
        """Every component a handler may fill."""
        return [getattr(self, field.name) for field in fields(self)]


class ChatPicture:
    """Draws the parts of one page in one language, as updates of its components."""

    def __init__(self, view: ChatView, words: Words) -> None:
        self.view = view
        self.words = words

    def thread(self, card: ThreadCard) -> Updates:
        """The settled turns; the address follows the conversation."""
        return {
            self.view.thread: render("thread", thread=card, words=self.words),
            self.view.conversation: card.conversation_id,
        }

    def nothing_yet(self) -> Updates:
        """A conversation that has not begun."""
        return self.thread(empty_thread())

    def conversations(self, lines: list[ConversationLine]) -> Updates:
        """The list of conversations."""
        return {self.view.conversations: render("conversations", lines=lines, words=self.words)}

    def live(self, card: LiveCard) -> Updates:
        """The answer that is being written."""
        return {self.view.live: render("live", live=card)}

    def pair(self, card: PairCard) -> Updates:
        """Two answers and the buttons to vote."""
        compare = self.words.compare
        labels = (compare.left, compare.right, compare.tie, compare.both_bad)
        votes = list(zip(CHOICES, labels, strict=True))
        return {self.view.pair: render("pair", pair=card, votes=votes, words=self.words)}

    def notice(self, text: str, *, is_error: bool = False) -> Updates:
        """A sentence above the composer; empty text takes it away."""
        return {self.view.notice: render("notice", text=text, is_error=is_error)}

    def editing(self, message_id: int | None, text: str = "") -> Updates:
        """The composer as the place to change an earlier message, or as usual."""
        is_editing = message_id is not None
        chat = self.words.chat
        hint = chat.editing_hint if is_editing else chat.message_hint
        return {
            self.view.editing: message_id,
            self.view.editing_bar: render("editing", words=self.words) if is_editing else "",
            self.view.message: gr.update(value=text, placeholder=hint),
        }

    def choices(self, versions: Sequence[VersionInfo], choice: AnswerChoice) -> Updates:
        """Who may answer and what may stand before the conversation, set to a choice."""
        options = version_options(versions, self.words)
        chosen = AS_SERVED_OPTION if choice.version_id is None else choice.version_id
        context = ZERO_SHOT if choice.examples == "none" else FEW_SHOT
        return {
            self.view.version: gr.update(choices=options, value=chosen, visible=len(options) > 2),
            self.view.context: gr.update(value=context),
        } | self.context_hint(context)

    def context_hint(self, context: str) -> Updates:
        """What examples are good for, once they are chosen."""
        text = self.words.chat.few_shot_hint if context == FEW_SHOT else ""
        return {self.view.context_hint: render("hint", text=text)}

    def waiting(self, is_answering_elsewhere: bool) -> Updates:
        """Look again every two seconds while another tab has this conversation answered."""
        return {self.view.refresh: gr.Timer(active=is_answering_elsewhere)}

    def answering(self) -> Updates:
        """Stop in the place of send, and the fact read out."""
        return {
            self.view.send: gr.update(visible=False),
            self.view.stop: gr.update(visible=True),
            self.view.announcement: render("announcement", text=self.words.chat.answering),
        }

    def settled(self, announcement: str = "") -> Updates:
        """Send in the place of stop, nothing being written."""
        return {
            self.view.live: "",
            self.view.send: gr.update(visible=True),
            self.view.stop: gr.update(visible=False),
            self.view.announcement: render("announcement", text=announcement),
        }
