"""Single-user mode: one person without a login, so nothing but this machine's own browser may come in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_app.errors import StartFailed
from chat_app.refusals import refusal_response
from chat_app.services.person import Person
from chat_app.settings import LOOPBACK, Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
RESPONSE_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is turned away, in words for whoever runs the service."""

    status: int
    code: str
    message: str
    remedy: str


def check_bind(settings: Settings) -> None:
    """Refuse to listen beyond this machine unless that was asked for by name. Raises StartFailed."""
    if settings.is_loopback or settings.trusted_network:
        return
    raise StartFailed(
        f"RAPPORT_HOST is {settings.host}, which others can reach, and Rapport has no login yet: everybody "
        "there could read all chats and train the model. Use 127.0.0.1 (the default; from afar through "
        "`ssh -L 7860:127.0.0.1:7860`), or, on a network where all may do that, or inside a container whose "
        "port is published on 127.0.0.1 only, set RAPPORT_TRUSTED_NETWORK=true."
    )


def current_person(connection: HTTPConnection) -> Person:
    """Return who asks: in single-user mode the one person there is, told apart by where the request is from."""
    person = connection.app.state.services.you
    assert isinstance(person, Person)
    return calling(person, "program", connection)


def calling(person: Person, what: str, connection: Any) -> Person:
    """Name the address from which a page or a program calls, as long as there is no login to tell people by.

    `connection` is a request, Starlette's or Gradio's.
    """
    client = connection.client
    return replace(person, via=f"{what} at {client.host if client else 'an unknown address'}")


class SingleUserGuard:
    """ASGI middleware that turns away other hosts' names, other sites' requests and proxies' forwards."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str], may_be_forwarded: bool) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*LOOPBACK, *allowed_hosts))
        self._may_be_forwarded = may_be_forwarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with the refusal."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), scope.get("method", "GET"))
        if refusal is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.message[:120]})
        else:
            await _response(refusal, scope["path"])(scope, receive, send)

    def _refusal(self, headers: Headers, method: str) -> Refusal | None:
        return (
            self._wrong_host(headers)
            or self._forwarded(headers)
            or _wrong_origin(headers)
            or _wrong_site(headers, method)
        )

    def _wrong_host(self, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        name = host_name(host)
        if not name:
            return Refusal(
                400, "no_host", "The request names no host.", "Send a Host header; HTTP/1.1 clients do."
            )
        if name in self._hosts:
            return None
        return Refusal(
            421,
            "unknown_host",
            f'The request is for the host "{name[:100]}", which is not a name of this service.',
            "Open it as http://127.0.0.1 with its port, or add the name to RAPPORT_ALLOWED_HOSTS.",
        )

    def _forwarded(self, headers: Headers) -> Refusal | None:
        found = [name for name in FORWARDED if name in headers]
        if not found or self._may_be_forwarded:
            return None
        return Refusal(
            403,
            "forwarded",
            f"The request came through a proxy (header {found[0]}), and this service has no login.",
            "Open it directly on this machine, or set RAPPORT_TRUSTED_NETWORK=true where all are trusted.",
        )


def host_name(host: str) -> str:
    """Take the name out of a Host header: without the port, the brackets of IPv6 and capitals."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _wrong_origin(headers: Headers) -> Refusal | None:
    origin = headers.get("origin")
    if origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower():
        return None
    return Refusal(
        403,
        "foreign_origin",
        f"The request comes from a page of {origin[:100]}, which is another site.",
        "Open Rapport's own page; programs leave the Origin header out.",
    )


def _wrong_site(headers: Headers, method: str) -> Refusal | None:
    """Refuse what another site makes the browser do; following a link to a page is no harm."""
    site = headers.get("sec-fetch-site", "none")
    is_link = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    if site in ("same-origin", "none") or is_link:
        return None
    return Refusal(
        403, "foreign_site", "Another site's page made this request.", "Open Rapport's own page instead."
    )


def _response(refusal: Refusal, path: str) -> Response:
    if not path.startswith(("/api/", "/v1/")):
        return PlainTextResponse(f"{refusal.message}\n{refusal.remedy}\n", refusal.status)
    return refusal_response(
        path, refusal.status, code=refusal.code, message=refusal.message, remedy=refusal.remedy
    )


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in RESPONSE_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
