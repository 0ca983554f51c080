"""Keeps request bodies small: nothing that people send here is longer than a message."""

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_app.refusals import refusal_response


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `max_bytes`, and 411 to one of undeclared length.

    The server reads no further than the declared length, so the header can be believed.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a small request on."""
        answer = self._refusal(scope["path"], Headers(scope=scope)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers:
            return refusal_response(
                path,
                411,
                code="length_required",
                message="The request's body has no length.",
                remedy="Send a Content-Length header.",
            )
        if not length.isdecimal() or int(length) > self._max_bytes:
            return refusal_response(
                path,
                413,
                code="body_too_large",
                message=f"The request's body has {length[:20]} bytes; the limit is {self._max_bytes:,}.",
                remedy="Send less at once, or raise RAPPORT_MAX_BODY_BYTES.",
            )
        return None
