"""Finding a route in a table: the framework asks one after the other, which takes longer than many an answer."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from itertools import chain
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

Shape = tuple[str, int]


class RouteTable(BaseRoute):
    """Routes below a prefix, by the first part of their path, which is no parameter, and by how many parts there are.

    Of several whose path fits, the first one that takes the method.
    """

    def __init__(self, app: FastAPI, prefix: str, routes: Iterable[APIRoute]) -> None:
        self._prefix = prefix
        self._routes: defaultdict[Shape, list[APIRoute]] = defaultdict(list)
        for route in routes:
            shape = _shape(route.path_format)
            assert "{" not in shape[0]
            self._routes[shape].append(_of_app(route, app))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the framework asks each of its routes."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefix):
            return Match.NONE, {}
        path = scope["path"][len(self._prefix) :]
        partial: tuple[Match, Scope] = Match.NONE, {}
        for route in self._routes.get(_shape(path), ()):
            found = route.path_regex.match(path)
            if found is None:
                continue
            values = found.groupdict().items()
            parameters = {name: route.param_convertors[name].convert(value) for name, value in values}
            child = {"endpoint": route.endpoint, "path_params": parameters, "route": route}
            if scope["method"] in (route.methods or ()):
                return Match.FULL, child
            if partial[0] is Match.NONE:
                partial = Match.PARTIAL, child
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route that was found answer."""
        await scope["route"].handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """The path of a route by its name; raises NoMatchFound."""
        for route in chain.from_iterable(self._routes.values()):
            with suppress(NoMatchFound):
                found = route.url_path_for(name, **path_params)
                return URLPath(self._prefix + found, found.protocol, found.host)
        raise NoMatchFound(name, path_params)


def _of_app(route: APIRoute, app: FastAPI) -> APIRoute:
    """The route with this application's `dependency_overrides`."""
    own = copy(route)
    own.dependency_overrides_provider = app
    handler = own.get_route_handler()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)

    own.app = answer
    return own


def _shape(path: str) -> Shape:
    first, *others = path[1:].split("/")
    return first, len(others)
