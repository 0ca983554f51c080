"""The chat page: the list of conversations, the thread, two answers to compare, and the composer."""

from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.pages.blocks import html_block
from chat_app.pages.chat_acts import ChatActs
from chat_app.pages.chat_drawing import ChatDrawing
from chat_app.pages.chat_view import ChatPicture, ChatView
from chat_app.pages.chat_writing import ChatWriting
from chat_app.pages.events import on, on_load
from chat_app.pages.markup import render
from chat_app.pages.navigation import navigation_bar, page_title
from chat_app.presenters.chat import AS_SERVED_OPTION, ZERO_SHOT, context_options, version_options
from chat_app.words import Words

_REMEMBER_SWITCH = "(isOn) => { localStorage.setItem('rapport.compare', isOn ? 'on' : ''); }"
_RECALL_SWITCH = "() => localStorage.getItem('rapport.compare') === 'on'"
_SMALL: dict[str, Any] = {
    "show_label": False, "container": False, "filterable": False, "interactive": True, "scale": 0, "min_width": 0,
}  # fmt: skip
_FOCUS_MESSAGE = "() => { document.querySelector('#r-message textarea')?.focus(); }"


def build_chat(services: Services, words: Words) -> gr.Blocks:
    """Lay out the page in one language and connect it to the services."""
    with gr.Blocks(title=page_title("chat", words), analytics_enabled=False, fill_width=True) as page:
        html_block(navigation_bar("chat", words))
        with gr.Row(elem_id="r-chat"):
            conversations = _conversations(words)
            with gr.Column(elem_id="r-main", min_width=0):
                view, switch = _main(words, conversations)
        _connect(page, view, switch, services, words)
    return page


def _conversations(words: Words) -> Any:
    with gr.Column(elem_id="r-drawer", scale=0, min_width=0):
        gr.Button(words.chat.hide_conversations, elem_id="r-close-drawer", size="md").click(
            fn=None, js="() => { window.rapportDrawer(false); }"
        )
        return html_block("", "rename", "remove")


def _main(words: Words, conversations: Any) -> tuple[ChatView, Any]:
    gr.Button("☰ " + words.chat.conversations, elem_id="r-open-drawer", size="md").click(
        fn=None, js="() => { window.rapportDrawer(true); }"
    )
    with gr.Column(elem_id="r-scroll", min_width=0):
        thread = html_block("", "sibling", "retry", "pair", "edit", "undo", "opening")
        live = html_block()
    pair = html_block("", "vote", elem_id="r-pair")
    with gr.Column(elem_id="r-composer", min_width=0):
        notice = html_block()
        editing_bar = html_block("", "leave")
        with gr.Row(elem_id="r-compose", equal_height=False):
            message = _message(words)
            send = gr.Button(words.chat.send, variant="primary", elem_id="r-send", min_width=88, scale=0)
            stop = gr.Button(words.chat.stop, elem_id="r-stop", min_width=88, scale=0, visible=False)
        with gr.Row(elem_id="r-how", equal_height=True):
            switch = _compare_switch(words)
            version, context = _version_choice(words), _context_choice(words)
        context_hint = html_block(elem_id="r-context-hint")
    view = ChatView(
        conversations=conversations,
        thread=thread,
        live=live,
        pair=pair,
        notice=notice,
        announcement=html_block(render("announcement", text=""), elem_id="r-announcement"),
        editing_bar=editing_bar,
        message=message,
        send=send,
        stop=stop,
        version=version,
        context=context,
        context_hint=context_hint,
        conversation=gr.Number(visible=False, precision=0),
        editing=gr.Number(visible=False, precision=0),
        refresh=gr.Timer(2, active=False),
    )
    return view, switch


def _message(words: Words) -> Any:
    return gr.Textbox(
        label=words.chat.message,
        placeholder=words.chat.message_hint,
        elem_id="r-message",
        lines=1,
        max_lines=8,
        show_label=False,
        container=False,
        interactive=True,
        autofocus=True,
        scale=1,
    )


def _compare_switch(words: Words) -> Any:
    return gr.Checkbox(
        label=words.colon.join((words.chat.compare_switch, words.chat.compare_switch_info)),
        elem_id="r-compare",
        container=False,
        interactive=True,
        scale=1,
        min_width=0,
    )


def _version_choice(words: Words) -> Any:
    return gr.Dropdown(
        version_options([], words),
        value=AS_SERVED_OPTION,
        label=words.chat.version_choice,
        elem_id="r-version",
        visible=False,
        **_SMALL,
    )


def _context_choice(words: Words) -> Any:
    return gr.Dropdown(
        context_options(words),
        value=ZERO_SHOT,
        label=words.chat.context_choice,
        elem_id="r-context",
        **_SMALL,
    )


def _connect(page: gr.Blocks, view: ChatView, switch: Any, services: Services, words: Words) -> None:
    drawing = ChatDrawing(services, ChatPicture(view, words))
    writing, acts = ChatWriting(services, drawing), ChatActs(services, drawing)
    outputs, conversation = view.outputs(), view.conversation
    on_load(page, acts.open, outputs)
    how = [view.version, view.context]
    composed = [view.message, conversation, switch, view.editing, *how]
    on(view.message.submit, writing.submit, composed, outputs)
    on(view.send.click, writing.submit, composed, outputs)
    on(view.stop.click, writing.stop, [conversation], outputs)
    on(view.thread.opening, writing.opening, [switch, *how], outputs)
    on(view.thread.retry, writing.retry, [conversation, *how], outputs)
    on(view.thread.pair, writing.pair, [conversation, *how], outputs)
    on(view.thread.sibling, acts.sibling, [conversation], outputs)
    on(view.thread.undo, acts.undo, [conversation], outputs)
    on(view.thread.edit, acts.edit, [], outputs).then(fn=None, js=_FOCUS_MESSAGE)
    on(view.editing_bar.leave, acts.leave_editing, [], outputs)
    on(view.conversations.rename, acts.rename, [conversation], outputs)
    on(view.conversations.remove, acts.remove, [], outputs)
    on(view.pair.vote, acts.vote, [conversation], outputs)
    on(view.context.change, acts.context_chosen, [view.context], [view.context_hint])
    on(view.refresh.tick, acts.refresh, [conversation], outputs)
    switch.change(fn=None, inputs=[switch], js=_REMEMBER_SWITCH)
    page.load(fn=None, outputs=[switch], js=_RECALL_SWITCH)
