"""Gives every error of the API one form and the fitting status: {"error": {"code", "message", "remedy"}}."""

import errno
import logging
import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from chat_app.errors import ServiceError
from db.errors import DatabaseError
from feedback.errors import (
    ComparisonNotFound,
    ComparisonSuperseded,
    FeedbackError,
    IdempotencyKeyReused,
    NotYourComparison,
)
from training.errors import (
    JobNotFound,
    NothingServing,
    TrainingError,
    UnusableModel,
    VersionNotFound,
)

logger = logging.getLogger(__name__)

NO_ROOM = ("database or disk is full", "no space left", "disk quota exceeded", "has no room left")
STATUSES: dict[type[Exception], int] = {
    ComparisonNotFound: 404,
    NotYourComparison: 409,
    ComparisonSuperseded: 409,
    IdempotencyKeyReused: 409,
    FeedbackError: 422,
    JobNotFound: 404,
    VersionNotFound: 404,
    NothingServing: 503,
    UnusableModel: 503,
    TrainingError: 409,
    DatabaseError: 503,
}


class ErrorDetail(BaseModel):
    """What is wrong, for a program (`code`) and for a person."""

    code: str
    message: str
    remedy: str = ""


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Say in OpenAPI which statuses come with an error body."""
    return {status: {"model": ErrorBody} for status in statuses}


def install_error_handlers(app: FastAPI) -> None:
    """Map the domain's errors, the framework's and unexpected ones."""
    for kind in (ServiceError, FeedbackError, TrainingError, DatabaseError):
        app.add_exception_handler(kind, _domain_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(Exception, _unexpected_error)


def error_detail(error: Exception) -> ErrorDetail:
    """Describe a domain error; feedback's are named after their class, as "invalid_ranking"."""
    if isinstance(error, ServiceError):
        return ErrorDetail(code=error.code, message=error.message, remedy=error.remedy)
    if is_storage_full(error):
        return ErrorDetail(code="storage_full", message=str(error))
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    return ErrorDetail(code=getattr(error, "code", name), message=str(error))


def error_status(error: Exception) -> int:
    """Find the HTTP status of a domain error; 507 whenever the cause is a full disk."""
    if is_storage_full(error):
        return 507
    if isinstance(error, ServiceError):
        return error.status
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def is_storage_full(error: BaseException) -> bool:
    """Tell whether a full disk is behind an error."""
    return any(
        (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT))
        or any(sign in str(cause).lower() for sign in NO_ROOM)
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


async def _domain_error(_request: Request, error: Exception) -> JSONResponse:
    retry_after = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(max(1, round(retry_after)))}
    return _answer(error_status(error), error_detail(error), headers)


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "The body"
    message = f"{place}: {first['msg']}."
    return _answer(422, ErrorDetail(code="invalid_request", message=message, remedy="See /docs."))


async def _framework_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = re.sub(r"\W+", "_", str(error.detail)).strip("_").lower()
    headers = dict(error.headers or {})
    detail = ErrorDetail(code=code, message=f"{error.detail}.", remedy="See /docs for what there is.")
    return _answer(error.status_code, detail, headers)


async def _unexpected_error(request: Request, error: Exception) -> JSONResponse:
    logger.error("Unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    if is_storage_full(error):
        return _answer(507, error_detail(error))
    message = "Something went wrong that was not foreseen."
    detail = ErrorDetail(code="internal_error", message=message, remedy="The service's log says what.")
    return _answer(500, detail)


def _answer(status: int, detail: ErrorDetail, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(ErrorBody(error=detail).model_dump(), status, headers)
