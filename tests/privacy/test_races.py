"""Erasing somebody while others book for him or write about him: whoever is second knows of the first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import httpx
import pytest

from tests.api.answers import refusal
from tests.factories import Person, World, booking
from tests.servers import TestDatabase

ERASE = {"reason": "File 2026/17"}
LIVE = "SELECT count(*) FROM appointments WHERE status IN ('pending', 'confirmed')"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND $1 = ANY (pg_blocking_pids(pid))"
T = TypeVar("T")


@pytest.fixture
async def eraser(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Another connection, on which somebody is being erased."""
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def being_erased(eraser: asyncpg.Connection, patient: Person) -> AsyncIterator[None]:
    """The patient's row as an erasure leaves it, not yet committed; committed at the end."""
    async with eraser.transaction():
        await eraser.execute("SELECT FROM patients WHERE id = $1 FOR UPDATE", patient.patient_id)
        await eraser.execute(
            "UPDATE patients SET is_active = false, erased_at = now() WHERE id = $1", patient.patient_id
        )
        yield


async def until_it_waits(owner: asyncpg.Connection, eraser: asyncpg.Connection, asked: "asyncio.Future[T]") -> None:
    """Return once a request waits for the eraser; fails if it ends instead."""
    async with asyncio.timeout(20):
        while not await owner.fetchval(_WAITING, eraser.get_server_pid()):
            assert not asked.done(), "it did not wait"
            await asyncio.sleep(0.01)


async def waiting_for_the_end(
    owner: asyncpg.Connection, eraser: asyncpg.Connection, patient: Person, request: Awaitable[httpx.Response]
) -> httpx.Response:
    """The answer to a request that comes while the patient is being erased."""
    async with being_erased(eraser, patient):
        asked = asyncio.ensure_future(request)
        await until_it_waits(owner, eraser, asked)
    return await asked


async def test_a_booking_that_comes_meanwhile_is_refused(
    api: httpx.AsyncClient, owner: asyncpg.Connection, eraser: asyncpg.Connection, world: World
):
    patient, doctor, admin = await world.patient(), await world.doctor(), await world.admin()
    body = booking(patient, doctor, await world.slot(doctor))
    request = api.post("/appointments/book", json=body, headers=admin.headers)
    refusal(await waiting_for_the_end(owner, eraser, patient, request), "CONFLICT")
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 0


async def test_notes_that_come_meanwhile_are_refused(
    api: httpx.AsyncClient, owner: asyncpg.Connection, eraser: asyncpg.Connection, world: World
):
    patient, doctor = await world.patient(), await world.doctor()
    visit = await world.appointment(patient, doctor, status="completed")
    request = api.put(f"/appointments/{visit}", json={"notes": "He coughed."}, headers=doctor.headers)
    refusal(await waiting_for_the_end(owner, eraser, patient, request), "CONFLICT")
    assert await owner.fetchval("SELECT notes FROM appointments") is None


async def test_psql_cannot_do_it_either(owner: asyncpg.Connection, eraser: asyncpg.Connection, world: World):
    patient, doctor = await world.patient(), await world.doctor()
    async with being_erased(eraser, patient):
        pass
    with pytest.raises(asyncpg.CheckViolationError, match="erased"):
        await world.appointment(patient, doctor)


async def test_booking_and_erasing_at_once_leave_nothing_ahead(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World
):
    doctor, admin = await world.doctor(max_patients_per_day=1000), await world.admin()
    outcomes = set()
    for patient in await world.patients(12):
        slots = [await world.slot(doctor) for _ in range(3)]
        path = f"/patients/{patient.patient_id}/erase"
        books = [
            api.post("/appointments/book", json=booking(patient, doctor, slot), headers=admin.headers) for slot in slots
        ]
        answers = await asyncio.gather(*books[:1], api.post(path, json=ERASE, headers=admin.headers), *books[1:])
        assert answers[1].status_code == 200, answers[1].text
        booked = [answer.status_code for place, answer in enumerate(answers) if place != 1]
        assert set(booked) <= {201, 409}
        outcomes |= set(booked)
        assert await owner.fetchval(LIVE) == 0
    assert 201 in outcomes, "no booking came first, so that nothing was shown"


async def test_two_erasures_at_once_are_one(api: httpx.AsyncClient, owner: asyncpg.Connection, world: World):
    patient, doctor, admin = await world.patient(), await world.doctor(), await world.admin()
    await world.appointment(patient, doctor)
    path = f"/patients/{patient.patient_id}/erase"
    answers = await asyncio.gather(*(api.post(path, json=ERASE, headers=admin.headers) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert await owner.fetchval(LIVE) == 0
