"""What the OpenAPI document says of errors, and how it is put together."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from health_services.api.fields import BIGINT_MAX
from health_services.api.problems import MEDIA_TYPE, slug
from health_services.errors import (
    AuthenticationException,
    AuthorizationException,
    HealthServicesError,
    IdempotencyKeyReusedException,
    OverloadedException,
    PayloadTooLargeException,
    RateLimitedException,
    RequestInProgressException,
    UnavailableException,
    UnsupportedMediaTypeException,
    ValidationException,
)

ErrorClass = type[HealthServicesError]
EXAMPLE_TIMESTAMP = "2026-03-01T10:00:00Z"

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "The body of every error (RFC 9457), a superset of the guide's.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "error_code", "timestamp"],
    "properties": {
        "type": {"type": "string", "description": "a stable name of the kind of problem"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence for a person"},
        "error_code": {"type": "string", "description": "for programs"},
        "timestamp": {"type": "string", "format": "date-time"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def errors(*classes: ErrorClass, wrong_credentials: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that can raise these; what every endpoint can raise is added by itself."""
    declared = [*classes, ValidationException, HealthServicesError, UnavailableException, OverloadedException]
    if wrong_credentials:
        declared.append(AuthenticationException)
    return _responses(declared)


def _responses(classes: list[ErrorClass]) -> dict[int | str, dict[str, Any]]:
    by_status: dict[int | str, dict[str, Any]] = {}
    for error in sorted(set(classes), key=lambda e: (e.status, e.error_code)):
        entry = by_status.setdefault(error.status, {"description": "", "content": {MEDIA_TYPE: {"examples": {}}}})
        entry["description"] = " · ".join(filter(None, [entry["description"], f"`{error.error_code}`"]))
        media = entry["content"][MEDIA_TYPE]
        media["schema"] = {"$ref": "#/components/schemas/Problem"}
        media["examples"][error.error_code] = {"value": _example(error)}
    return by_status


def _example(error: ErrorClass) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": f"/problems/{slug(error.error_code)}",
        "title": error.title,
        "status": error.status,
        "detail": error.default_detail,
        "error_code": error.error_code,
        "timestamp": EXAMPLE_TIMESTAMP,
    }
    if error is ValidationException:
        example |= {"errors": [{"field": "name", "message": "is required"}]}
    return example


def describe(app: FastAPI, routes: Sequence[BaseRoute], rules: dict[str, Any]) -> dict[str, Any]:
    """The document of these routes.

    `rules` maps each operation's id to its access rule, for security and the errors that follow.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=routes,
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "also taken as Bearer"},
    }
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    for operations in document["paths"].values():
        for method, operation in operations.items():
            _complete(operation, method, rules.get(operation["operationId"]))
    whole: dict[str, Any] = _with_whole_numbers(document)
    return whole


def _with_whole_numbers(part: Any) -> Any:
    """The framework keeps bounds as floats, of which the largest id is not one."""
    if isinstance(part, dict):
        return {key: _with_whole_numbers(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_with_whole_numbers(value) for value in part]
    return min(int(part), BIGINT_MAX) if isinstance(part, float) and part.is_integer() else part


def _complete(operation: dict[str, Any], method: str, rule: Any) -> None:
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    more: list[ErrorClass] = [RateLimitedException]
    if rule is not None and rule.token.value == "required":
        operation["security"] = [{"accessToken": []}, *([] if rule.is_account else [{"apiKey": []}])]
        more += [AuthenticationException, AuthorizationException]
        if method == "post" and not rule.is_question:
            more += [RequestInProgressException, IdempotencyKeyReusedException]
            operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    elif rule is not None and rule.token.value == "welcome":
        operation["security"] = [{}, {"accessToken": []}]
        more += [AuthenticationException, AuthorizationException]
    if "requestBody" in operation:
        more += [PayloadTooLargeException, UnsupportedMediaTypeException]
    if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ())):
        responses["200"]["headers"] = {"Link": _NEXT_PAGE}
    if rule is not None and rule.cache:
        responses["304"] = {"description": "Not changed since the answer with this ETag"}
    for status, entry in _responses(more).items():
        _merge(responses, str(status), entry)
    operation["responses"] = dict(sorted(responses.items()))


def _merge(responses: dict[str, Any], status: str, entry: dict[str, Any]) -> None:
    if status not in responses:
        responses[status] = entry
        return
    there = responses[status]
    new = {code: e for code, e in _examples(entry).items() if code not in _examples(there)}
    _examples(there).update(new)
    there["description"] = " · ".join([there["description"], *(f"`{code}`" for code in new)])


def _examples(entry: dict[str, Any]) -> dict[str, Any]:
    examples: dict[str, Any] = entry["content"][MEDIA_TYPE]["examples"]
    return examples


_NEXT_PAGE = {
    "description": 'RFC 8288: the next page has rel="next"; left out after the last one',
    "schema": {"type": "string"},
    "example": '</api/v1/slots?cursor=AAYs9SsJYAAAAAAAAAAAAQ&limit=100>; rel="next"',
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A name for this request: sent again with it, the first answer comes back and nothing is done.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
