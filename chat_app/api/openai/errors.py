"""Gives every error under /v1 OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chat_app.api.errors import error_detail, error_status, is_storage_full
from chat_app.errors import MessageTooLong, PromptDoesNotFit, ServiceError
from db.errors import DatabaseError
from feedback.errors import FeedbackError
from training.chat_format import ChatFormatError
from training.errors import TrainingError

logger = logging.getLogger(__name__)

CODES = {"prompt_does_not_fit": "context_length_exceeded", "busy": "rate_limit_exceeded"}
ABOUT_MESSAGES = (MessageTooLong, PromptDoesNotFit, FeedbackError, ChatFormatError)
UNFORESEEN = "Something went wrong that was not foreseen. The service's log says what."


class InvalidRequest(Exception):
    """A field of a request that cannot be met as it is; `param` names it."""

    def __init__(self, message: str, *, param: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


def error_object(message: str, status: int, *, code: str, param: str | None = None) -> dict[str, Any]:
    """Build the body of an error."""
    return {"error": {"message": message, "type": _type(status), "param": param, "code": code}}


def described(error: Exception) -> tuple[int, dict[str, Any]]:
    """Give the status and the body of an error, for an answer or for the middle of a stream."""
    if isinstance(error, InvalidRequest):
        return 400, error_object(error.message, 400, code=error.code, param=error.param)
    if isinstance(error, ServiceError | FeedbackError | TrainingError | DatabaseError):
        detail, status = error_detail(error), _status(error)
        param = "messages" if isinstance(error, ABOUT_MESSAGES) else None
        param = "model" if detail.code == "model_not_found" else param
        message = f"{detail.message} {detail.remedy}".strip()
        return status, error_object(message, status, code=CODES.get(detail.code, detail.code), param=param)
    status = 507 if is_storage_full(error) else 500
    return status, error_object(UNFORESEEN, status, code="internal_error")


def install_error_handlers(app: FastAPI) -> None:
    """Map our own errors, the domain's, the framework's and unexpected ones."""
    for kind in (InvalidRequest, ServiceError, FeedbackError, TrainingError, DatabaseError):
        app.add_exception_handler(kind, _known_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(Exception, _unexpected_error)


async def _known_error(_request: Request, error: Exception) -> JSONResponse:
    status, body = described(error)
    retry_after = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}
    return JSONResponse(body, status, headers)


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        message = f"The body is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}."
        return JSONResponse(error_object(message, 400, code="invalid_json"), 400)
    param = _param(first["loc"])
    given = "" if first["type"] == "missing" else f" is {repr(first.get('input'))[:80]}"
    message = f"{param or 'The body'}{given}: {first['msg'].removeprefix('Value error, ')}."
    return JSONResponse(error_object(message, 400, code="invalid_value", param=param), 400)


async def _framework_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = "unknown_url" if error.status_code == 404 else "invalid_request"
    message = f"{error.detail}. See /v1/docs for what there is."
    return JSONResponse(error_object(message, error.status_code, code=code), error.status_code, error.headers)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    logger.error("Unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    status, body = described(error)
    return JSONResponse(body, status)


def _status(error: Exception) -> int:
    """What is wrong with a request is 400 here, as with OpenAI."""
    status = error_status(error)
    return 400 if status == 422 or isinstance(error, ChatFormatError) else status


def _type(status: int) -> str:
    types: Mapping[int, str] = {429: "rate_limit_error", 403: "permission_error"}
    return types.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _param(place: tuple[Any, ...]) -> str | None:
    """Name the field: messages[0], or stop without the kinds that it may have."""
    names = [part for part in place if part != "body"]
    if not names or isinstance(names[0], int):
        return None
    return f"{names[0]}[{names[1]}]" if len(names) > 1 and isinstance(names[1], int) else str(names[0])
