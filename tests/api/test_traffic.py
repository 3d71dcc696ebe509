"""Limits at the edge: who calls too often is told so by a problem, in headers, and by nobody else's count."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from health_services.api.traffic import count
from health_services.limits.limiter import Limiter
from health_services.main import create_app
from tests.api.answers import refusal
from tests.api.test_headers import ORIGIN, asked, assert_safe
from tests.conftest import test_settings
from tests.limits.clocks import Clock, limiter_on
from tests.servers import TestDatabase

PROXY = "10.1.2.3"


@pytest.fixture
async def limited(database: TestDatabase, tmp_path: Path) -> AsyncIterator[FastAPI]:
    """An application that lets each address ask three times a minute, at a time that stands still."""
    changes = {"trusted_proxies": [f"{PROXY}/32"], "cors_origins": [ORIGIN]}
    app = create_app(test_settings(database.app_url).model_copy(update=changes))
    app.state.limiter = limiter_on(tmp_path / "counts", '{"address": "3/minute", "caller": "2/minute"}', Clock(6000))

    @app.get("/counted")
    async def counted(request: Request) -> str:
        await count(request, "caller", "7")
        return "done"

    yield app
    await app.state.limiter.close()
    app.state.gate.passwords.close()
    await app.state.database.close()


def client(app: FastAPI, address: str) -> httpx.AsyncClient:
    """Somebody who calls from this address."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_an_address_is_told_how_much_is_left_and_then_refused(limited: FastAPI):
    async with client(limited, "203.0.113.7") as caller:
        for left, path in ((2, "healthz"), (1, "nothing"), (0, "api/v1/appointments")):
            answer = await caller.get(f"/{path}")
            assert answer.status_code in {200, 404, 401}
            assert answer.headers["ratelimit-policy"] == '"address";q=3;w=60'
            # with nothing left, the time is until there is more; else until this window ends
            assert answer.headers["ratelimit"] == f'"address";r={left};t={60 if left else 61}'
            assert "retry-after" not in answer.headers
        for path in ("healthz", "nothing", "api/v1/appointments", "docs", "openapi.json"):
            refused = await caller.get(f"/{path}")
            refusal(refused, "RATE_LIMITED")
            assert refused.headers["retry-after"] == "61"
            assert refused.headers["ratelimit-policy"] == '"address";q=3;w=60'
            assert refused.headers["ratelimit"] == '"address";r=0;t=61'
            assert_safe(refused)
    async with client(limited, "203.0.113.8") as other:
        assert (await other.get("/healthz")).status_code == 200


async def test_the_tightest_limit_is_told(limited: FastAPI):
    async with client(limited, "203.0.113.7") as caller:
        for left in (1, 0):
            answer = await caller.get("/counted")
            assert answer.headers.get_list("ratelimit") == [f'"caller";r={left};t={60 if left else 61}']
            assert answer.headers.get_list("ratelimit-policy") == ['"caller";q=2;w=60']
        refused = await caller.get("/counted")
        refusal(refused, "RATE_LIMITED")
        assert refused.headers.get_list("ratelimit") == ['"caller";r=0;t=61']
        assert refused.headers["retry-after"] == "61"


async def test_a_forged_address_counts_for_him_who_forged_it(limited: FastAPI):
    async with client(limited, "203.0.113.7") as forger:
        codes = [
            (await forger.get("/healthz", headers={"X-Forwarded-For": f"198.51.100.{number}"})).status_code
            for number in range(5)
        ]
    assert codes == [200, 200, 200, 429, 429]
    async with client(limited, PROXY) as proxy:
        for number in range(5):
            told = {"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.7"}
            assert (await proxy.get("/healthz", headers=told)).status_code == 429
            told = {"X-Forwarded-For": f"203.0.113.7, 198.51.100.{number}"}
            assert (await proxy.get("/healthz", headers=told)).status_code == 200


async def test_a_network_of_ipv6_is_one_address(limited: FastAPI):
    codes = []
    for number in range(5):
        async with client(limited, f"2001:db8:1:2::{number}") as caller:
            codes.append((await caller.get("/healthz")).status_code)
    assert codes == [200, 200, 200, 429, 429]
    async with client(limited, "2001:db8:1:3::1") as other:
        assert (await other.get("/healthz")).status_code == 200


async def test_a_web_page_may_read_that_it_asks_too_often(limited: FastAPI):
    async with client(limited, "203.0.113.7") as browser:
        for _ in range(3):
            await browser.get("/healthz", headers={"Origin": ORIGIN})
        refused = await browser.get("/healthz", headers={"Origin": ORIGIN})
        refusal(refused, "RATE_LIMITED")
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        exposed = {name.strip() for name in refused.headers["access-control-expose-headers"].lower().split(",")}
        assert {"retry-after", "ratelimit", "ratelimit-policy"} <= exposed
        assert (await browser.options("/api/v1/clinics", headers=asked("GET"))).status_code == 200


async def test_head_counts_like_get(limited: FastAPI):
    async with client(limited, "203.0.113.7") as caller:
        for _ in range(3):
            await caller.head("/healthz")
        refused = await caller.head("/healthz")
        assert (refused.status_code, refused.content) == (429, b"")


async def test_off_tells_nothing(api: httpx.AsyncClient, app: FastAPI):
    limiter: Limiter = app.state.limiter
    assert await limiter.hit("address", "127.0.0.1") is None
    for _ in range(5):
        answer = await api.get("/clinics")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


async def test_every_operation_declares_429(app: FastAPI):
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            assert "RATE_LIMITED" in operation["responses"]["429"]["description"], f"{method} {path}"


@pytest.mark.parametrize(("peer", "proto", "is_told"), [
    (PROXY, "https", True), (PROXY, "http", False), (PROXY, None, False), ("203.0.113.7", "https", False),
])  # fmt: skip
async def test_only_over_tls_a_browser_is_bound_to_tls(limited: FastAPI, peer: str, proto: str | None, is_told: bool):
    async with client(limited, peer) as caller:
        for path in ("/healthz", "/nothing"):
            answer = await caller.get(path, headers={"X-Forwarded-Proto": proto} if proto else {})
            told = ["max-age=31536000; includeSubDomains"] if is_told else []
            assert answer.headers.get_list("strict-transport-security") == told
