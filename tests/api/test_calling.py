"""What is worked out once for a route is what the framework works out each time."""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request, Response
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from health_services.api import calling
from health_services.api.json_body import StrictRequest

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PreparedRoute(APIRoute):
    """As a GuardedRoute is, without guards."""

    def get_route_handler(self) -> Handler:
        handler = calling.prepared(self, super().get_route_handler())

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=5)]
    size: Annotated[int, Field(strict=True)] = 3


class Shown(BaseModel):
    found: dict[str, str]


async def page(
    request: Request, response: Response, skip: Annotated[int, Query(ge=0)] = 0, limit: int = 10
) -> tuple[int, int, str]:
    """As endpoints depend on a page: it looks at the request, and may say something with the answer."""
    response.headers["X-Page"] = f"{skip}/{limit}"
    return skip, limit, request.url.query


async def doubled(number: int, found: Annotated[tuple[int, int, str], Depends(page)]) -> int:
    """What depends on a parameter and on what another one found."""
    return 2 * number + found[0]


Page = Annotated[tuple[int, int, str], Depends(page)]


def routes(kind: type[APIRoute]) -> FastAPI:
    """The same endpoints, with the one kind of route or the other."""
    router = APIRouter(route_class=kind)

    @router.get("/things/{number}", response_model=Shown)
    async def list_things(
        shown: Page,
        twice: Annotated[int, Depends(doubled)],
        number: int,
        colour: Colour | None = None,
        since: Annotated[AwareDatetime | None, Query()] = None,
        name: Annotated[str | None, Query(max_length=3, alias="as")] = None,
    ) -> Any:
        values = {"page": shown, "twice": twice, "number": number, "colour": colour, "since": since, "name": name}
        return {"found": {key: repr(value) for key, value in values.items()}}

    @router.post("/things/{number}", status_code=201, response_model=Shown)
    async def make_thing(number: int, body: Annotated[Wanted, Body()], shown: Page, response: Response) -> Any:
        if body.size == 0:
            response.status_code = 204
        if body.size < 0:
            return Response(b"less", status_code=299)
        return {"found": {"body": repr(body), "number": repr(number), "page": repr(shown)}}

    @router.get("/unusual")
    async def unusual(agent: Annotated[str, Header()], tags: Annotated[list[str], Query()]) -> list[str]:
        return [agent, *tags]

    app = FastAPI()
    app.include_router(router)
    return app


APPS = [routes(PreparedRoute), routes(APIRoute)]
NAMES = st.sampled_from(["skip", "limit", "colour", "since", "as", "name", "other"])
VALUES = st.sampled_from(["", "1", "-1", "1.5", "red", "green", "2030-01-01T00:00:00Z", "2030-01-01", "abcd", "0x1"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["", "Ada", "longer"]),
    lambda inner: st.dictionaries(st.sampled_from(["name", "size", "more"]), inner, max_size=3) | st.lists(inner),
    max_leaves=4,
)


async def both(method: str, url: str, **options: Any) -> httpx.Response:
    """What both answer, which must be the same."""
    answers: list[httpx.Response] = []
    for app in APPS:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as api:
            answers.append(await api.request(method, url, **options))
    ours, theirs = answers
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers.multi_items() == theirs.headers.multi_items()
    return ours


@given(number=VALUES | st.just("7"), query=st.lists(st.tuples(NAMES, VALUES), max_size=4))
async def test_parameters(number: str, query: list[tuple[str, str]]):
    await both("GET", f"/things/{number or '7'}", params=query)


@given(body=JSON)
async def test_bodies(body: Any):
    await both("POST", "/things/7", json=body)


@pytest.mark.parametrize(("size", "status"), [(3, 201), (0, 204), (-1, 299)])
async def test_statuses(size: int, status: int):
    assert (await both("POST", "/things/7?skip=2", json={"name": "Ada", "size": size})).status_code == status


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/problem+json", "text/plain", ""])
async def test_kinds_of_body(kind: str):
    await both("POST", "/things/7", content=b'{"name": "Ada"}', headers={"Content-Type": kind})


async def test_what_is_unusual_is_the_frameworks(monkeypatch: pytest.MonkeyPatch):
    assert (await both("GET", "/unusual?tags=a&tags=b", headers={"Agent": "x"})).json() == ["x", "a", "b"]
    assert (await both("GET", "/unusual")).status_code == 422


async def test_overrides_hold():
    async def other() -> tuple[int, int, str]:
        return 9, 9, "other"

    for app in APPS:
        app.dependency_overrides[page] = other
    try:
        assert "other" in (await both("GET", "/things/7")).text
    finally:
        for app in APPS:
            app.dependency_overrides.clear()


def test_what_is_asked_most_is_prepared(app: FastAPI):
    """Something that is not simple would be slow again, and nobody would see it."""
    hot = {
        "list_slots", "get_slot", "list_doctors", "list_clinics", "book_appointment", "cancel_appointment",
        "profile", "login", "list_patient_appointments",
    }  # fmt: skip
    simple = {route.name for route in guarded_routes(app) if calling._is_simple(route.dependant)}
    assert hot - simple == set()


def guarded_routes(app: FastAPI) -> list[APIRoute]:
    tables = [route for route in app.routes if hasattr(route, "_routes")]
    return [route for table in tables for group in table._routes.values() for route in group]
