"""Is it up, can it serve, and does its documentation stand alone?"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from health_services.api import health
from health_services.main import create_app
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.servers import TestDatabase

GUIDE = {
    "/auth/register": "post", "/auth/login": "post", "/auth/profile": "get", "/patients/{patient_id}": "get put",
    "/patients/{patient_id}/appointments": "get", "/doctors": "get post", "/doctors/{doctor_id}": "get put",
    "/clinics": "get post", "/clinics/{clinic_id}": "get put", "/clinics/{clinic_id}/doctors": "get",
    "/slots": "get post", "/slots/{slot_id}": "get delete", "/appointments/book": "post",
    "/appointments/{appointment_id}/cancel": "post", "/appointments/{appointment_id}": "get put",
    "/appointments": "get", "/patients": "post", "/patients/search": "post", "/doctors/{doctor_id}/appointments": "get",
}  # fmt: skip


@pytest.fixture
async def site(api: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The same application, from its root."""
    async with httpx.AsyncClient(transport=api._transport, base_url="http://test") as client:
        yield client


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application on this database."""
    app = create_app(test_settings(url))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    app.state.gate.passwords.close()
    await app.state.database.close()


async def test_up_and_ready(site: httpx.AsyncClient):
    idle = {"messages": {"due": 0, "retrying": 0, "oldest_due_seconds": 0.0, "failed": 0}}
    for path, more in (("/healthz", {}), ("/readyz", idle)):
        answer = await site.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", **more})
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("revision", "ready"), [("0001", False), (None, False), ("9999", True)])
async def test_ready_is_a_schema_at_least_of_this_version(
    site: httpx.AsyncClient, owner: asyncpg.Connection, revision: str | None, ready: bool
):
    present = await owner.fetchval("SELECT version_num FROM alembic_version")
    try:
        if revision is None:
            await owner.execute("DELETE FROM alembic_version")
        else:
            await owner.execute("UPDATE alembic_version SET version_num = $1", revision)
        answer = await site.get("/readyz")
        if ready:
            assert answer.status_code == 200
        else:
            refusal(answer, "UNAVAILABLE")
            assert int(answer.headers["retry-after"]) > 0
        assert (await site.get("/healthz")).status_code == 200
    finally:
        await owner.execute("DELETE FROM alembic_version")
        await owner.execute("INSERT INTO alembic_version VALUES ($1)", present)
    assert (await site.get("/readyz")).status_code == 200


async def test_no_schema_at_all_is_not_ready(cluster_url: str):
    async with client_of(cluster_url) as client:
        refusal(await client.get("/readyz"), "UNAVAILABLE")


@pytest.fixture
async def cluster_url(database: TestDatabase) -> str:
    """A database of the same server that nobody migrated."""
    return re.sub(r"/[^/?]+(\?|$)", r"/postgres\1", database.admin_url, count=1)


async def test_a_database_that_refuses_is_503_everywhere():
    async with client_of("postgresql://nobody:nothing@127.0.0.1:1/none") as client:
        for path in ("/readyz", "/api/v1/clinics", "/api/v1/slots/1"):
            answer = await asyncio.wait_for(client.get(path), 30)
            refusal(answer, "UNAVAILABLE")
            assert int(answer.headers["retry-after"]) > 0
            assert "127.0.0.1" not in answer.text
        login = {"email": "a@example.org", "password": "something"}
        refusal(await client.post("/api/v1/auth/login", json=login), "UNAVAILABLE")
        assert (await client.get("/healthz")).status_code == 200


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """The port of a server that takes calls and says nothing."""
    hung: list[asyncio.StreamWriter] = []
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None] = lambda _, writer: hung.append(writer)  # noqa: E731
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in hung:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def test_a_database_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    assert health.READY_SECONDS <= 5
    monkeypatch.setattr(health, "READY_SECONDS", 0.2)
    async with silent_server() as port, client_of(f"postgresql://a:b@127.0.0.1:{port}/none") as client:
        waiting: Awaitable[httpx.Response] = client.get("/readyz")
        refusal(await asyncio.wait_for(waiting, 4), "UNAVAILABLE")


async def test_the_documentation_needs_nobody_else(site: httpx.AsyncClient):
    page = await site.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page.text)
    addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert address.startswith("/docs/")
        asset = await site.get(address)
        assert asset.status_code == 200, address
        assert asset.content
    start = (await site.get("/docs/start.js")).text
    assert "/openapi.json" in start
    assert "//" not in start
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    for outside in (
        "/docs/assets/../../../main.py",
        "/docs/assets/%2e%2e/__init__.py",
        "/docs/assets/..%2f__init__.py",
    ):
        refusal(await site.get(outside), "RESOURCE_NOT_FOUND")


async def test_the_document_names_every_address_of_the_guide(site: httpx.AsyncClient):
    answer = await site.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    paths = answer.json()["paths"]
    for path, methods in GUIDE.items():
        assert set(methods.split()) <= set(paths[f"/api/v1{path}"]), path
    assert {"/healthz", "/readyz"} <= set(paths)
    assert answer.json()["openapi"].startswith("3.")
