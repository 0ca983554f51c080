"""Mounts every page in every language on the app, and sends a visit without a page to the chat."""

from collections.abc import Callable

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse

from chat_app.container import Services
from chat_app.pages.chat import build_chat
from chat_app.pages.document import PageDocuments
from chat_app.pages.models import build_models
from chat_app.pages.navigation import PageName, page_path
from chat_app.pages.theme import rapport_theme
from chat_app.pages.train import build_train
from chat_app.words import LANGUAGE_COOKIE, WORDS, Words, preferred_language

HANDLERS = (
    512  # of a page at a time; Gradio's own limits are one per event, and 40 that would hold up "stop" too
)

BUILDERS: dict[PageName, Callable[[Services, Words], gr.Blocks]] = {
    "chat": build_chat,
    "train": build_train,
    "models": build_models,
}


def mount_pages(app: FastAPI, services: Services) -> None:
    """Add the pages /en/… and /zh/…, and the redirects to them, to the app."""
    app.add_middleware(PageDocuments)
    _add_redirects(app)
    theme = rapport_theme()
    for language, words in WORDS.items():
        for name, build in BUILDERS.items():
            page = build(services, words)
            page.max_threads = HANDLERS
            page.queue(max_size=HANDLERS, default_concurrency_limit=HANDLERS, api_open=False)
            gr.mount_gradio_app(
                app,
                page,
                page_path(language, name).rstrip("/"),
                theme=theme,
                footer_links=[],
                run_history=False,
                show_error=False,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
            )


def _add_redirects(app: FastAPI) -> None:
    def to_chat(request: Request) -> RedirectResponse:
        language = preferred_language(
            request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language")
        )
        return RedirectResponse(page_path(language, "chat"), status_code=307)

    app.get("/", include_in_schema=False)(to_chat)
    for language in WORDS:
        path = page_path(language, "chat")
        app.get(f"/{language}", include_in_schema=False)(lambda path=path: RedirectResponse(path))
        app.get(f"/{language}/", include_in_schema=False)(lambda path=path: RedirectResponse(path))
