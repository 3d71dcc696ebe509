"""What the log never holds: tokens, passwords, e-mail addresses, names, whatever a request does with them."""

import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import structlog

from health_services.access.tokens import Tokens
from health_services.api import middleware
from tests.access.cast import Cast, make_cast
from tests.factories import World

PASSWORD = "three blue teapots"
EMAIL = "carla.jones@example.org"
NAME = "Carla Jones"
MALFORMED = f'{{"email": "{EMAIL}", "password": "{PASSWORD}"'
ACCOUNT = {"name": NAME, "email": EMAIL, "password": PASSWORD}


@pytest.fixture(params=["json", "text"])
def written(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[[], str]]:
    """All that the application and its libraries write at their most talkative, in both of its formats."""
    before = structlog.get_config()
    caplog.set_level(logging.DEBUG)
    stderr = io.StringIO()
    with monkeypatch.context() as at_start:
        at_start.setattr(sys, "stderr", stderr)
        middleware.configure_logging("debug", as_text=request.param == "text")
    monkeypatch.setattr(middleware, "log", structlog.get_logger("health_services.http"))
    try:
        yield lambda: "".join([stderr.getvalue(), *capfd.readouterr(), *_of_the_server(caplog)])
    finally:
        structlog.configure(**before)


def _of_the_server(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Without what the test's own client says."""
    return [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]


def _crash(tokens: Tokens, token: str) -> int:
    """Stands for whatever breaks with a secret in its message."""
    raise RuntimeError(f"cannot read {token} of {EMAIL}") from ValueError(PASSWORD)


async def _ask_everything(api: httpx.AsyncClient, cast: Cast, token: str) -> list[int]:
    """The statuses of many requests that carry the secrets in all the places where people put them."""
    bearer = {"Authorization": f"Bearer {token}"}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/auth/register", {"json": ACCOUNT}),
        ("POST", "/auth/register", {"json": ACCOUNT}),
        ("POST", "/auth/register", {"json": ACCOUNT | {"mobile_no": 7}}),
        ("POST", "/auth/login", {"json": {"email": EMAIL, "password": PASSWORD}}),
        ("POST", "/auth/login", {"json": {"email": EMAIL, "password": PASSWORD + "!"}}),
        ("POST", "/auth/login", {"params": {"email": EMAIL, "password": PASSWORD}}),
        ("POST", "/auth/login", {"content": MALFORMED, "headers": {"Content-Type": "application/json"}}),
        ("POST", "/auth/login", {"data": {"email": EMAIL, "password": PASSWORD}}),
        ("GET", "/auth/profile", {"params": {"token": token}}),
        ("GET", "/auth/profile", {"params": {"token": token + "x"}}),
        ("GET", "/auth/profile", {"params": {"Token": token, EMAIL: "1"}, "headers": bearer}),
        ("GET", "/auth/profile", {"headers": {"Authorization": f"Basic {token}"}}),
        ("GET", f"/patients/{EMAIL}", {"headers": bearer}),
        ("DELETE", f"/patients/{EMAIL}", {"headers": bearer}),
        ("GET", f"/{EMAIL}/{token}", {"headers": bearer}),
        ("POST", "/patients/search", {"json": {"query": NAME}, "headers": cast.admin.headers}),
        ("GET", "/patients/search", {"params": {"query": NAME}, "headers": cast.admin.headers}),
        ("GET", "/doctors", {"params": {"name": NAME}}),
        ("GET", "/auth/profile", {"headers": bearer | {"X-Request-ID": EMAIL}}),
    ]
    return [(await api.request(method, path, **more)).status_code for method, path, more in requests]


async def test_the_log_holds_no_secret_and_no_person(
    api: httpx.AsyncClient,
    world: World,
    written: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
):
    cast = await make_cast(world)
    token = cast.patient.headers["Authorization"].removeprefix("Bearer ")
    statuses = await _ask_everything(api, cast, token)
    assert {200, 400, 401, 404, 405, 409, 415} == set(statuses)
    with monkeypatch.context() as broken:
        broken.setattr(Tokens, "read", _crash)
        crash = await api.get("/auth/profile", params={"token": token})
        assert crash.status_code == 500
        assert not [secret for secret in (token, EMAIL, PASSWORD, "RuntimeError") if secret in crash.text]

    log = written()
    assert log.count("/api/v1/") >= len(statuses) - 1, "the log was not captured"
    assert "RuntimeError" in log
    _, payload, signature = token.split(".")
    for secret in (payload, signature, PASSWORD, "teapots", EMAIL, "carla.jones", NAME, "Carla", "$argon2"):
        assert secret not in log, secret
