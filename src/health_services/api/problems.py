"""Turning errors into answers: `application/problem+json` (RFC 9457), whatever went wrong."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from health_services.errors import (
    FieldError,
    HealthServicesError,
    OverloadedException,
    RateLimitedException,
    ResourceNotFoundException,
    UnavailableException,
    ValidationException,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2


def slug(error_code: str) -> str:
    """The last part of a problem's type, as in /problems/slot-unavailable."""
    return error_code.lower().replace("_", "-")


def problem(status: int, error_code: str, title: str, detail: str, errors: Sequence[FieldError] = ()) -> Response:
    """The body that every error has."""
    body: dict[str, Any] = {
        "type": f"/problems/{slug(error_code)}",
        "title": title,
        "status": status,
        "detail": detail,
        "error_code": error_code,
        "timestamp": datetime.now(UTC),
    }
    if errors:
        body["errors"] = [{"field": error.field, "message": error.message} for error in errors]
    content = orjson.dumps(body, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return Response(content, status, media_type=MEDIA_TYPE)


def of_error(error: HealthServicesError) -> Response:
    """The answer to one of our own errors."""
    response = problem(error.status, error.error_code, error.title, error.detail, error.errors)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UnavailableException):
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, (RateLimitedException, OverloadedException)):
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RateLimitedException):
        response.headers.update(error.standing.headers)
    return response


def of_http(error: HTTPException, allowed: Sequence[str] = ()) -> Response:
    """The answer to what the framework refuses before any of our code runs."""
    if isinstance(error.__cause__, HealthServicesError):  # the framework wraps what reading the body raises
        return of_error(error.__cause__)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return of_error(ResourceNotFoundException())
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response = problem(405, "METHOD_NOT_ALLOWED", "Method not allowed", "This address does not take this method.")
        response.headers["Allow"] = ", ".join(allowed)
        return response
    if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return of_error(ValidationException())
    return of_error(HealthServicesError())


def status_of(error: Exception) -> int:
    """The status of the answer that the error becomes."""
    if isinstance(error, HealthServicesError):
        return error.status
    if isinstance(error, RequestValidationError):
        return HTTPStatus.BAD_REQUEST
    if isinstance(error, HTTPException):
        return error.status_code
    return HTTPStatus.INTERNAL_SERVER_ERROR


def field_name(location: Sequence[Any]) -> str:
    """A path as a person writes it: ("body", 3, "slot_datetime") is items[3].slot_datetime."""
    parts = list(location)
    if parts and parts[0] in {"body", "query", "path", "header"}:
        parts = parts[1:]
    name = ""
    for part in parts:
        if isinstance(part, int):
            name = f"{name or 'items'}[{part}]"
        elif part not in {"", "[key]"} and " " not in str(part):  # the tag of a union has spaces, a field has none
            name = f"{name}.{part}" if name else str(part)
    return name or "body"


def of_validation(error: RequestValidationError) -> Response:
    """400 with every wrong field; never with the value that was sent."""
    found = {(field_name(e["loc"]), _message(dict(e))): None for e in error.errors()}
    errors = [FieldError(field[:100], message) for field, message in list(found)[:100]]
    detail = "; ".join(f"{e.field}: {e.message}" for e in errors[:5])
    return of_error(ValidationException(detail, errors=errors))


# The usual refusals in our words; `ctx` of Pydantic's error fills in the bounds.
_WORDS = {
    "string_too_short": "must have {min_length} characters or more",
    "too_short": "must have {min_length} or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_long": "must have {max_length} or fewer",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "enum": "must be {expected}",
}


def _message(error: dict[str, Any]) -> str:
    kind = error["type"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "is not a known field"
    if error.get("input", ...) is None:
        return "must not be null"
    if isinstance(error.get("input"), str) and kind in {"too_short", "too_long"}:  # a secret text
        kind = f"string_{kind}"
    words = _WORDS.get(kind)
    if words is not None:
        return words.format(**error.get("ctx", {}))
    message = str(error["msg"])
    return message[0].lower() + message[1:]


def install(app: FastAPI, allowed_methods: Callable[[str], Sequence[str]]) -> None:
    """Let every error of the application end here; `allowed_methods` knows what a path takes."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HealthServicesError):
            return of_error(error)
        if isinstance(error, RequestValidationError):
            return of_validation(error)
        assert isinstance(error, HTTPException)
        return of_http(error, allowed_methods(request.url.path))

    for kind in (HealthServicesError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
