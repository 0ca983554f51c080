"""The training page: where the loop stands, the button that retrains, and a retraining followed live."""

from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.pages.blocks import html_block
from chat_app.pages.events import on, on_load
from chat_app.pages.markup import render
from chat_app.pages.navigation import navigation_bar, page_title
from chat_app.pages.promotion import PromotionHandlers, promotion_panel
from chat_app.pages.train_handlers import ACTIVE_SECONDS, TrainHandlers, TrainView
from chat_app.words import Words


def build_train(services: Services, words: Words) -> gr.Blocks:
    """Lay out the page in one language and connect it to the services."""
    with gr.Blocks(title=page_title("train", words), analytics_enabled=False, fill_width=True) as page:
        html_block(navigation_bar("train", words))
        with gr.Column(elem_id="r-content", elem_classes="r-page"):
            html_block(render("heading", title=words.train.title, intro=words.train.intro))
            status = html_block()
            preset, start = _controls(services, words)
            notice = html_block()
            progress = html_block("", "cancel")
            verdict = html_block("", "promote", "force")
            panel = promotion_panel(words)
            view = TrainView(
                status=status,
                notice=notice,
                start=start,
                progress=progress,
                verdict=verdict,
                curves=html_block(),
                samples=html_block(),
                log=html_block(),
                history=html_block(),
                job=gr.Number(visible=False, precision=0),
                seen=gr.State(None),
                timer=gr.Timer(ACTIVE_SECONDS),
            )
        handlers, outputs = TrainHandlers(services, words, view), view.outputs()
        on_load(page, handlers.open, outputs)
        on(view.timer.tick, handlers.tick, [view.job, view.seen], outputs)
        on(start.click, handlers.start, [preset], outputs)
        on(progress.cancel, handlers.cancel, [view.job], outputs)
        PromotionHandlers(services, words, panel, handlers.redraw).connect(verdict, outputs)
    return page


def _controls(services: Services, words: Words) -> tuple[Any, Any]:
    names = services.retraining.presets(services.you)
    by_length = sorted(names, key=list(words.train.presets).index)
    choices = [(words.colon.join(words.train.presets[name]), name) for name in by_length]
    with gr.Column(elem_id="r-controls"):
        preset = gr.Radio(
            choices, value=names[0], label=words.train.preset, elem_id="r-preset", interactive=True
        )
        with gr.Row(elem_classes="r-buttons"):
            start = gr.Button(
                words.train.retrain,
                variant="primary",
                elem_id="r-retrain",
                scale=0,
                interactive=services.you.may("train"),
            )
    return preset, start
