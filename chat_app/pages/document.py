"""The HTML document around a Gradio page: its language, title, style and script, and what it may load.

Gradio takes its own words from `navigator.language`, so a script that runs before its bundle answers with
the page's language. The Content-Security-Policy keeps everything on this host, whatever somebody writes.
"""

import re
from collections.abc import MutableMapping
from html import escape
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_app.pages.navigation import PAGES, PageName, page_path, page_title
from chat_app.pages.theme import page_script, stylesheet
from chat_app.words import LANGUAGE_COOKIE, WORDS, Words

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%230b6b6b'/%3E"
    "%3Cpath d='M8 10h10v7H13l-3 3v-3H8zM20 14h4v8h-2v3l-3-3h-4v-3h5z' fill='white'/%3E%3C/svg%3E"
)
_UNWANTED = re.compile(r"""<meta (?:property="og|name="twitter)[^>]*>|<link rel="manifest"[^>]*>""")


def page_document(html: str, page: PageName, words: Words) -> str:
    """Give Gradio's document our language, title, style and script, and take its advertisement out."""
    head = (
        f"<head><title>{escape(page_title(page, words))}</title><link rel='icon' href=\"{_ICON}\">"
        "<meta name='color-scheme' content='light dark'>"
        f"<style>{stylesheet()}</style><script>{_language_script(words)}{page_script()}</script>"
    )
    html = _UNWANTED.sub("", html)
    html = re.sub(r'<html\s+lang="en"', f'<html lang="{words.tag}"', html, count=1)
    return html.replace("<head>", head, 1)


def _language_script(words: Words) -> str:
    return (
        f'Object.defineProperty(navigator,"language",{{get:()=>"{words.tag}"}});'
        f'Object.defineProperty(navigator,"languages",{{get:()=>["{words.tag}"]}});'
    )


class PageDocuments:
    """ASGI middleware that rewrites the documents of our pages and leaves every other answer alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages = {
            page_path(language, page): (page, words) for language, words in WORDS.items() for page in PAGES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._pages.get(scope.get("path", "")) if scope["type"] == "http" else None
        if found is None or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        await self._app(_uncompressed(scope), receive, _Rewriting(send, *found))


def _uncompressed(scope: Scope) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    return {**scope, "headers": headers}


class _Rewriting:
    """Collects an HTML answer and sends it rewritten; other answers pass."""

    def __init__(self, send: Send, page: PageName, words: Words) -> None:
        self._send, self._page, self._words = send, page, words
        self._start: MutableMapping[str, Any] | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_rewritten(self._start)

    async def _send_rewritten(self, start: MutableMapping[str, Any]) -> None:
        body = page_document(self._body.decode("utf-8"), self._page, self._words).encode("utf-8")
        cookie = f"{LANGUAGE_COOKIE}={self._words.language}; Path=/; Max-Age=31536000; SameSite=Lax"
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        added = {
            "content-length": str(len(body)),
            "content-security-policy": POLICY,
            "cache-control": "no-store",
            "set-cookie": cookie,
        }
        start["headers"] = kept + [(name.encode(), value.encode()) for name, value in added.items()]
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _is_html(message: Message) -> bool:
    headers = {name.lower(): value for name, value in message["headers"]}
    is_html: bool = headers.get(b"content-type", b"").startswith(b"text/html")
    return is_html and message["status"] == 200
