"""Writes the refusals of the guards that stand before the routes, each in the form of the API that was asked."""

from typing import Any

from starlette.responses import JSONResponse


def refusal_response(path: str, status: int, *, code: str, message: str, remedy: str) -> JSONResponse:
    """Build the answer: OpenAI's form under /v1, our own elsewhere."""
    error: dict[str, Any] = {"code": code, "message": message, "remedy": remedy}
    if path.startswith("/v1/"):
        kind = "permission_error" if status == 403 else "invalid_request_error"
        error = {"message": f"{message} {remedy}", "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error}, status)
