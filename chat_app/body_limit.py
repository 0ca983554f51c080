"""Keeps request bodies small: nothing that people send here is longer than a message."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware that answers 413 to a body over `max_bytes`, and 411 to one of undeclared length.

    The server reads no further than the declared length, so the header can be believed.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a small request on."""
        answer = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> JSONResponse | None:
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers:
            return _refuse(
                411, "length_required", "The request's body has no length.", "Send a Content-Length header."
            )
        if not length.isdecimal() or int(length) > self._max_bytes:
            message = f"The request's body has {length[:20]} bytes; the limit is {self._max_bytes:,}."
            return _refuse(
                413, "body_too_large", message, "Send less at once, or raise RAPPORT_MAX_BODY_BYTES."
            )
        return None


def _refuse(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "remedy": remedy}}, status)
