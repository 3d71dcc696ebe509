"""How often each hot endpoint goes to the database and back, once its statements are prepared.

A change that adds a query to one of these shows here; docs/performance.md says what a booking's are made of.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from tests.factories import World, booking


@pytest.fixture
async def statements(app: FastAPI) -> AsyncIterator[list[str]]:
    """Every statement that the application sends, BEGIN and COMMIT among them."""
    sent: list[str] = []
    engines = [engine.sync_engine for engine in app.state.database.engines]

    def log(record: Any) -> None:
        sent.append(record.query)

    def watch(connection: Any, *_: Any) -> None:
        connection.driver_connection.add_query_logger(log)

    def unwatch(connection: Any, *_: Any) -> None:
        connection.driver_connection.remove_query_logger(log)

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    hooks: list[tuple[str, Any]] = [("checkout", watch), ("checkin", unwatch), ("before_cursor_execute", note)]
    for engine, (name, hook) in product(engines, hooks):
        event.listen(engine, name, hook)
    yield sent
    for engine, (name, hook) in product(engines, hooks):
        event.remove(engine, name, hook)


class Counter:
    """Sends requests, and counts what each kind of them asks of the database; the last time counts."""

    def __init__(self, api: httpx.AsyncClient, statements: list[str]) -> None:
        self._api = api
        self._statements = statements
        self.counted: dict[str, int] = {}

    async def __call__(self, name: str, method: str, path: str, *, status: int = 200, **request: Any) -> httpx.Response:
        self._statements.clear()
        answer = await self._api.request(method, path, **request)
        assert answer.status_code == status or answer.status_code < 300, answer.text
        await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn
        self.counted[name] = len(self._statements)
        return answer


async def make_webhook(world: World) -> None:
    """Somebody who wants to be told of everything."""
    await world.owner.execute(
        """INSERT INTO webhooks (url, events, secret)
           VALUES ('https://8.8.8.8/', '{appointment.booked,appointment.cancelled,slot.created,slot.deleted}', '')"""
    )


async def test_round_trips(api: httpx.AsyncClient, world: World, statements: list[str]):
    doctor, patient = await world.doctor(), await world.patient()
    slots = [await world.slot(doctor) for _ in range(2)]
    await make_webhook(world)
    count = Counter(api, statements)
    for slot in slots:  # the first time, statements are prepared and types are looked up
        body = booking(patient, doctor, slot)
        booked = await count("book", "POST", "/appointments/book", json=body, headers=patient.headers)
        await count("cancel", "POST", f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)
        await count("list slots", "GET", "/slots", params={"doctor_id": doctor.doctor_id})
        await count("profile", "GET", "/auth/profile", headers=patient.headers)
        await count("read a patient", "GET", f"/patients/{patient.patient_id}", headers=patient.headers)
        headers = {**patient.headers, "Idempotency-Key": f"key {slot}"}
        body |= {"reason_for_visit": "Cough"}
        await count("book with key and reason", "POST", "/appointments/book", json=body, headers=headers)
    assert count.counted == {
        "book": 5,
        "book with key and reason": 5,
        "cancel": 7,
        "list slots": 1,
        "profile": 4,
        "read a patient": 5,
    }
    told = await world.owner.fetchval("SELECT count(*) FROM notifications WHERE kind = 'appointment_booked'")
    assert (told, await world.owner.fetchval("SELECT count(*) FROM webhook_deliveries")) == (4, 6)


async def test_round_trips_of_what_is_refused(
    api: httpx.AsyncClient, world: World, statements: list[str], owner: asyncpg.Connection
):
    doctor, first, second = await world.doctor(), await world.patient(), await world.patient()
    slot = await world.slot(doctor)
    await world.appointment(first, doctor, slot)
    count = Counter(api, statements)
    body = booking(second, doctor, slot)
    for _ in range(2):
        await count("book", "POST", "/appointments/book", status=409, json=body, headers=second.headers)
    assert count.counted == {"book": 5}  # the last one for the audit, where rows of several requests go together
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE status = 409") == 2


async def test_round_trips_of_messages(api: httpx.AsyncClient, world: World, statements: list[str]):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    body = booking(patient, doctor, await world.slot(doctor))
    booked = await api.post("/appointments/book", json=body, headers=patient.headers)
    one = f"/appointments/{booked.json()['id']}"
    count = Counter(api, statements)
    for _ in range(2):
        await count("preferences", "GET", "/users/me/preferences", headers=patient.headers)
        await count("ledger", "GET", "/notifications", headers=admin.headers)
        await count("call list", "GET", "/notifications/unreachable", headers=admin.headers)
        await count("of an appointment", "GET", f"{one}/notifications", headers=patient.headers)
    assert count.counted == {"preferences": 5, "ledger": 5, "call list": 5, "of an appointment": 6}


async def test_round_trips_of_sessions(api: httpx.AsyncClient, statements: list[str]):
    account = {"name": "Ada Wong", "email": "ada@example.org", "password": "three blue teapots"}
    assert (await api.post("/auth/register", json=account)).status_code == 200
    sign_in = {"email": account["email"], "password": account["password"]}
    count = Counter(api, statements)
    for _ in range(2):
        signed_in = await count("login", "POST", "/auth/login", json=sign_in)
        token = {"refresh_token": signed_in.json()["refresh_token"]}
        renewed = await count("refresh", "POST", "/auth/refresh", json=token)
        token = {"refresh_token": renewed.json()["refresh_token"]}
        await count("logout", "POST", "/auth/logout", json=token)
    assert count.counted == {"login": 7, "refresh": 8, "logout": 6}


async def test_nothing_of_a_booking_notifies(api: httpx.AsyncClient, world: World, statements: list[str]):
    """Commits that do wait for each other; what the database calls by itself, tests/announcements looks at."""
    await make_webhook(world)
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    slot = await world.slot(doctor)
    headers = patient.headers | {"Idempotency-Key": "once"}
    body = booking(patient, doctor, slot)
    booked = await api.post("/appointments/book", json=body, headers=headers)
    assert (await api.post(f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)).status_code == 200
    assert (await api.delete(f"/slots/{slot}", headers=admin.headers)).status_code == 200
    assert len([statement for statement in statements if "INSERT INTO webhook_deliveries" in statement]) >= 3
    assert [statement for statement in statements if "notify" in statement.lower()] == []
