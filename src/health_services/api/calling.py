"""Calling an endpoint with what it asks for, worked out once for each route.

The framework works it out anew with every request, which takes longer than many an answer. Here is only the way on
which all is well: whenever something is missing, wrong or out of the ordinary, the framework does it from the start
and says what it always says. It may, since what endpoints depend on only looks at the request.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from inspect import iscoroutinefunction
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.params import Body, Form
from fastapi.routing import APIRoute, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import AwareDatetime

from health_services.errors import HealthServicesError

Handler = Callable[[Request], Awaitable[Response]]

# What a parameter of a path or a query may be: one text, and nothing that changes once it is read.
_PLAIN = (str, int, float, date, datetime, AwareDatetime, Enum, NoneType)
_UNUSUAL = (
    "header_params", "cookie_params", "websocket_param_name", "http_connection_param_name",
    "background_tasks_param_name", "security_scopes_param_name", "own_oauth_scopes", "parent_oauth_scopes",
    "concurrency",
)  # fmt: skip


class _Unfit(Exception):
    """Something about this request is not as it should be."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A parameter by its name in the function and in the request; `check` gives its value and what is wrong."""

    name: str
    alias: str
    check: Callable[..., tuple[Any, list[Any]]]
    is_required: bool
    default: Any

    def read(self, given: Mapping[str, Any]) -> Any:
        """Its value; raises _Unfit."""
        text = given.get(self.alias)
        if text is not None:
            return self.checked(text)
        if self.is_required:
            raise _Unfit
        return self.default

    def checked(self, value: Any) -> Any:
        """What the value means; raises _Unfit."""
        meant, errors = self.check(value)
        if errors:
            raise _Unfit
        return meant


@dataclass(frozen=True, slots=True)
class _Call:
    """A function, what it is given by name, and for `others` which calls before it found that."""

    function: Callable[..., Awaitable[Any]]
    path: Sequence[_Field]
    query: Sequence[_Field]
    body: _Field | None
    others: Sequence[tuple[str, int]]
    request: str | None
    response: str | None


def prepared(route: APIRoute, framework: Handler) -> Handler:
    """A handler for the route: ours where what it asks for is simple, else the framework's."""

    async def thorough(request: Request) -> Response:
        async with AsyncExitStack() as outer, AsyncExitStack() as inner:
            request.scope.update(fastapi_inner_astack=outer, fastapi_function_astack=inner)
            return await framework(request)

    calls: list[_Call] = []
    if not _is_simple(route.dependant) or not isinstance(route.response_class, DefaultPlaceholder):
        return thorough
    _list_calls(route.dependant, calls, {})
    has_response = any(call.response for call in calls)
    has_body = any(call.body for call in calls)

    async def handler(request: Request) -> Response:
        if request.app.dependency_overrides:
            return await thorough(request)
        response = _no_response() if has_response else None
        try:
            body = await _body_of(request) if has_body else None
            answer = await _carry_out(calls, request, response, body)
        except _Unfit:
            return await thorough(request)
        return answer if isinstance(answer, Response) else await _written(route, answer, response)

    return handler


async def _carry_out(calls: Sequence[_Call], request: Request, response: Response | None, body: Any) -> Any:
    found: list[Any] = []
    for call in calls:
        values = {name: found[place] for name, place in call.others}
        for field in call.path:
            values[field.name] = field.read(request.path_params)
        for field in call.query:
            values[field.name] = field.read(request.query_params)
        if call.body is not None:
            values[call.body.name] = call.body.checked(body)
        if call.request is not None:
            values[call.request] = request
        if call.response is not None:
            values[call.response] = response
        found.append(await call.function(**values))
    return found[-1]


async def _body_of(request: Request) -> Any:
    if not request.headers.get("content-type", "").startswith("application/json") or not await request.body():
        raise _Unfit
    try:
        return await request.json()
    except HealthServicesError:
        raise _Unfit from None


async def _written(route: APIRoute, answer: Any, response: Response | None) -> Response:
    body = await serialize_response(field=route.response_field, response_content=answer, dump_json=True)
    status = (response and response.status_code) or route.status_code or 200
    written = Response(body if is_body_allowed_for_status_code(status) else b"", status, media_type="application/json")
    if response is not None:
        written.raw_headers.extend(response.raw_headers)
    return written


def _no_response() -> Response:
    """What an endpoint may put headers and a status on."""
    response = Response()
    response.raw_headers.clear()
    response.status_code = None  # type: ignore[assignment]
    return response


def _list_calls(dependant: Dependant, calls: list[_Call], known: dict[Any, int]) -> int:
    """Add what has to be called, each thing after what it depends on and once; the place of this one."""
    if dependant.use_cache and dependant.call in known:
        return known[dependant.call]
    others = [(other.name, _list_calls(other, calls, known)) for other in dependant.dependencies]
    assert dependant.call is not None
    calls.append(
        _Call(
            function=dependant.call,
            path=[_field(field) for field in dependant.path_params],
            query=[_field(field) for field in dependant.query_params],
            body=next((_field(field) for field in dependant.body_params), None),
            others=[(name, place) for name, place in others if name is not None],
            request=dependant.request_param_name,
            response=dependant.response_param_name,
        )
    )
    return known.setdefault(dependant.call, len(calls) - 1)


def _field(field: Any) -> _Field:
    is_required = field.field_info.is_required()
    return _Field(field.name, field.alias, field.validate, is_required, None if is_required else field.default)


def _is_simple(dependant: Dependant) -> bool:
    """Whether it asks for nothing but plain parameters, the request, a JSON body, and others of that kind."""
    return (
        iscoroutinefunction(dependant.call)
        and not any(getattr(dependant, name) for name in _UNUSUAL)
        and all(_is_plain(field) for field in (*dependant.path_params, *dependant.query_params))
        and len(dependant.body_params) <= 1
        and all(_is_whole(field.field_info) for field in dependant.body_params)
        and all(_is_simple(other) for other in dependant.dependencies)
    )


def _is_plain(field: Any) -> bool:
    info = field.field_info
    kinds = all(isinstance(kind, type) and issubclass(kind, _PLAIN) for kind in _kinds(info.annotation))
    is_as_it_stands = not info.validate_default and (info.is_required() or isinstance(field.default, _PLAIN))
    return kinds and is_as_it_stands and info.validation_alias in (None, info.alias)


def _kinds(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from _kinds(one)
    else:
        yield annotation


def _is_whole(info: Any) -> bool:
    return isinstance(info, Body) and not isinstance(info, Form) and not info.embed
