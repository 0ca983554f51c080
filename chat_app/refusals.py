"""Writes the refusals of the guards that stand before the routes, each in the form of the API that was asked."""

from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response


def refusal_response(path: str, status: int, *, code: str, message: str, remedy: str) -> Response:
    """Build the answer: OpenAI's form under /v1, our own under /api, plain text for pages."""
    error: dict[str, Any] = {"code": code, "message": message, "remedy": remedy}
    if path.startswith("/v1/"):
        kind = "permission_error" if status == 403 else "invalid_request_error"
        error = {"message": f"{message} {remedy}", "type": kind, "param": None, "code": code}
    elif not path.startswith("/api/"):
        return PlainTextResponse(f"{message}\n{remedy}\n", status)
    return JSONResponse({"error": error}, status)
