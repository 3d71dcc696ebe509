"""Classes of attacks that no single peer stands for, and what ASVS asks that no feature tests by itself."""

import asyncio
import re
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from health_services.database.embedded import Cluster
from health_services.notifications.models import Kind
from tests.access.cast import fingerprint, make_cast
from tests.api.answers import refusal
from tests.factories import World, booking
from tests.races.servers import Server
from tests.security.probing import operations
from tests.servers import TestDatabase, create_database

INJECTIONS = (
    "' OR '1'='1", "x' OR 1=1 --", "%", "_", "*", "x'; SELECT pg_sleep(5); --", "\\", "$1", "${jndi:ldap://x}",
    "' UNION SELECT 1, password_hash FROM users --", "{{7*7}}", "<script>alert(1)</script>", "=cmd|'/C calc'!A1",
    "a & b:* | !c <-> (", "\u202e",
)  # fmt: skip
# What a server and a proxy before it may read as one request or as two: the headers, and what stands before the second.
SMUGGLED = (
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Content-Length: 0\r\nContent-Length: 40", ""),
    ("Transfer-Encoding: xchunked\r\nContent-Length: 4", ""),
    ("Content-Length: +4", ""),
    ("Transfer-Encoding : chunked", "0\r\n\r\n"),
)
SECOND = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_no_text_finds_more_than_it_says(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """ASVS 1.2.4: each query parameter of each list, and the search, with texts that mean something elsewhere."""
    cast = await make_cast(world)
    before, tried = await fingerprint(owner), 0
    for operation in operations(app):
        if operation.method != "GET" or operation.rule is None:
            continue
        for name, text in product(operation.parameters("query"), INJECTIONS):
            headers = {} if name == "token" else cast.admin.headers
            answer = await api.get(operation.url(cast.ids), params={name: text}, headers=headers)
            is_text = answer.status_code == 200 and answer.json() == []
            assert is_text or answer.status_code in {400, 401, 404}, f"{operation} {name}={text}: {answer.text}"
            tried += 1
    for text in INJECTIONS:
        found = await api.post("/patients/search", json={"query": text}, headers=cast.admin.headers)
        names = [] if found.status_code == 400 else [person["name"].casefold() for person in found.json()]
        words = re.findall(r"\w+", text.casefold())
        assert not names or (words and all(word in name for word in words for name in names)), text
    assert tried > 200
    assert await fingerprint(owner) == before


async def test_a_parameter_that_is_given_twice_is_refused(api: httpx.AsyncClient, app: FastAPI, world: World):
    """ASVS 15.3.7: a proxy that checks the first would let pass what the server reads as the last."""
    admin = await world.admin()
    for path, name in (("/slots", "doctor_id"), ("/doctors", "clinic_id"), ("/users", "role"), ("/audit", "limit")):
        answer = await api.get(path, params=[(name, "1"), (name, "2")], headers=admin.headers)
        assert name in {error["field"] for error in refusal(answer, "VALIDATION_ERROR", name)["errors"]}


def test_nothing_is_answered_that_a_spreadsheet_would_run(app: FastAPI):
    """Formulas in exports (`=cmd`): no answer is CSV or a sheet, and nothing is taken but JSON and one bare form."""
    answered, taken = set(), set()
    for operation in operations(app):
        for response in operation.described["responses"].values():
            answered |= set(response.get("content", {}))
        taken |= set(operation.described.get("requestBody", {}).get("content", {}))
    assert answered == {
        "application/json", "application/problem+json", "application/zip", "text/calendar", "text/html",
        "text/javascript", "text/plain",
    }  # fmt: skip
    assert taken <= {"application/json", "application/x-www-form-urlencoded"}


async def test_nobody_hoards_places_that_he_did_not_book(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """Hoarding by holds: there are none yet, and one patient takes one place of a slot however often he asks."""
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=10)
    refusal(await api.post(f"/slots/{slot}/hold", headers=patient.headers), "RESOURCE_NOT_FOUND")
    body = booking(patient, doctor, slot)
    answers = await asyncio.gather(
        *(api.post("/appointments/book", json=body, headers=patient.headers) for _ in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert await owner.fetchval("SELECT booked_count FROM appointment_slots WHERE id = $1", slot) == 1


@pytest.mark.parametrize("path", ["/", "/api/v1/slots", "/api/v1/appointments", "/docs", "/ws"])
async def test_no_websocket_is_opened(app: FastAPI, path: str):
    """ASVS 4.4.2: none is spoken, so that no page of another origin can open one."""
    scope: dict[str, Any] = {
        "type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [], "state": {},
        "scheme": "ws", "subprotocols": [], "client": ("203.0.113.7", 1), "server": ("test", 80), "root_path": "",
        "asgi": {"version": "3.0"}, "extensions": {}, "http_version": "1.1",
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_new_installation_knows_nobody(cluster: Cluster):
    """ASVS 6.3.2: there is no account, key or webhook before somebody makes one."""
    made = await create_database(cluster, "test_new_installation")
    connection = await asyncpg.connect(made.owner_url)
    try:
        for table in ("users", "api_keys", "sessions", "webhooks", "patients", "doctors"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
    finally:
        await connection.close()


async def _answered(port: int, request: str) -> bytes:
    """All that the server says until it closes the connection, or says no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    said = b""
    try:
        async with asyncio.timeout(1.5):
            while chunk := await reader.read(65536):
                said += chunk
    except TimeoutError:
        pass
    writer.close()
    return said


async def test_one_request_is_never_two(database: TestDatabase, owner: asyncpg.Connection):
    """ASVS 4.2.1: what a proxy could read as the body of one request is not answered as a second one."""
    server = Server({"DATABASE_URL": database.app_url, "HEALTH_MIGRATION_DATABASE_URL": database.owner_url}, workers=1)
    try:
        port = (await server.ready()).port
        assert (await _answered(port, SECOND * 2)).count(b"HTTP/1.1 200") == 2, "two that are two are answered"
        for headers, body in SMUGGLED:
            request = f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}{SECOND}"
            said = await _answered(port, request)
            assert b"HTTP/1.1 200" not in said, request
            assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 415")), said[:300]
    finally:
        server.stop()


async def test_no_page_is_framed_or_runs_what_stands_in_it(api: httpx.AsyncClient, app: FastAPI, world: World):
    """ASVS 3.4.3 and 3.4.6: the pages that browsers show, and answers that they could be led to show."""
    patient = await world.patient()
    page = app.state.links.url(patient.user_id, Kind.APPOINTMENT_REMINDER).partition("/api/v1")[2]
    for path in (page, "/clinics", "/auth/profile", "/nothing", "http://test/docs", "http://test/healthz"):
        answer = await api.get(path)
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'", path
        assert policy["frame-ancestors"] == "'none'", path
        assert "unsafe-inline" not in policy.get("script-src", "") + policy["default-src"], path
        assert "unsafe-eval" not in answer.headers["content-security-policy"], path
