"""A flood that the database cannot take: who waits, who is sent away, what goes on beside it, and what comes after."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.api import overload
from health_services.api.overload import Places
from health_services.main import create_app
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.database.test_constraints import other_connection
from tests.factories import World, booking
from tests.servers import TestDatabase

CONNECTIONS, LINE = 4, 5
WRITERS = CONNECTIONS - CONNECTIONS // 4


@pytest.fixture
async def small(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    """An application with few connections and a short line."""
    monkeypatch.setattr(overload, "LONGEST_LINE", LINE)
    changes = {"database_pool_size": CONNECTIONS, "read_pool_size": 1}
    app = create_app(test_settings(database.app_url).model_copy(update=changes))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def site(small: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Callers of it."""
    transport = httpx.ASGITransport(small, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def until_waiting(places: Places, count: int) -> None:
    async with asyncio.timeout(60):
        while len(places._line) < count:
            await asyncio.sleep(0.01)


async def test_a_flood_on_one_slot(
    site: httpx.AsyncClient, small: FastAPI, world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, patients = await world.doctor(), [await world.patient() for _ in range(WRITERS + LINE + 7)]
    slot, other = await world.slot(doctor, capacity=3), await world.slot(doctor)
    room = small.state.room

    async def book(index: int, slot_id: int = slot) -> httpx.Response:
        body = booking(patients[index], doctor, slot_id)
        return await site.post("/api/v1/appointments/book", json=body, headers=patients[index].headers)

    async with other_connection(database) as holder, holder.transaction():
        await holder.execute("SELECT FROM appointment_slots WHERE id = $1 FOR UPDATE", slot)
        taken = [asyncio.create_task(book(index)) for index in range(WRITERS + LINE)]
        await until_waiting(room.writing, LINE)
        audited = await owner.fetchval("SELECT count(*) FROM audit_log")
        for index in range(WRITERS + LINE, len(patients)):
            refused = await book(index)  # at once: nobody lets the slot go
            refusal(refused, "OVERLOADED")
            assert int(refused.headers["retry-after"]) >= 1
        refusal(await site.post("/api/v1/nowhere"), "OVERLOADED")  # before anything is looked at
        assert await owner.fetchval("SELECT count(*) FROM audit_log") == audited
        for path, headers in (
            ("/healthz", {}),
            ("/readyz", {}),
            ("/api/v1/clinics", {}),
            (f"/api/v1/slots?doctor_id={doctor.doctor_id}", {}),
            ("/api/v1/auth/profile", patients[0].headers),
        ):
            async with asyncio.timeout(30):
                assert (await site.get(path, headers=headers)).status_code == 200, path
    answers = [await each for each in taken]
    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: WRITERS + LINE - 3}
    assert (await book(len(patients) - 1, other)).status_code == 201
    assert (room.writing._free, len(room.writing._line)) == (WRITERS, 0)


async def test_a_flood_of_passwords_keeps_nobody_from_booking(
    site: httpx.AsyncClient, small: FastAPI, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    turns = small.state.gate.passwords.turns
    login = {"email": "nobody@example.org", "password": "three blue teapots"}
    async with turns.turn_of("one"), turns.turn_of("other"):  # nobody else has a turn
        logins = [asyncio.create_task(site.post("/api/v1/auth/login", json=login)) for _ in range(4 * CONNECTIONS)]
        async with asyncio.timeout(60):
            while len(turns._waiting) < len(logins):
                await asyncio.sleep(0.01)
        body = booking(patient, doctor, slot)
        answer = await site.post("/api/v1/appointments/book", json=body, headers=patient.headers)
        assert answer.status_code == 201
    assert {(await each).status_code for each in logins} == {401}


async def test_whoever_gives_up_waiting_leaves_his_place_to_others(
    site: httpx.AsyncClient, small: FastAPI, world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, patients = await world.doctor(), [await world.patient() for _ in range(WRITERS + LINE + 1)]
    slots = [await world.slot(doctor) for _ in patients]
    writing = small.state.room.writing

    def book(index: int) -> "asyncio.Task[httpx.Response]":
        body = booking(patients[index], doctor, slots[index])
        return asyncio.create_task(site.post("/api/v1/appointments/book", json=body, headers=patients[index].headers))

    async with other_connection(database) as holder, holder.transaction():
        await holder.execute("SELECT FROM appointment_slots FOR UPDATE")
        tasks = [book(index) for index in range(WRITERS + LINE)]
        await until_waiting(writing, LINE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (writing._free, len(writing._line)) == (WRITERS, 0)
    assert (await book(WRITERS + LINE)).status_code == 201


async def test_a_body_that_is_refused_is_no_entry_in_the_audit(
    site: httpx.AsyncClient, world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(overload, "LONG_BODIES_BYTES", 1)
    patient = await world.patient()
    body = b'{"email": "' + b"a" * overload.SHORT_BODY_BYTES + b'"}'
    headers = patient.headers | {"content-type": "application/json"}
    for path in ("/auth/login", "/appointments/book"):
        refusal(await site.post(f"/api/v1{path}", content=body, headers=headers), "OVERLOADED")
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 0
