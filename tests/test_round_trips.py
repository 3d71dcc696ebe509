"""How often each hot endpoint goes to the database and back, once its statements are prepared.

A change that adds a query to one of these shows here; docs/booking.md names the numbers.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from tests.factories import World, booking


@pytest.fixture
async def statements(app: FastAPI) -> AsyncIterator[list[str]]:
    """Every statement that the application sends, BEGIN and COMMIT among them."""
    sent: list[str] = []
    engine = app.state.database.engine.sync_engine

    def log(record: Any) -> None:
        sent.append(record.query)

    def watch(connection: Any, *_: Any) -> None:
        connection.driver_connection.add_query_logger(log)

    def unwatch(connection: Any, *_: Any) -> None:
        connection.driver_connection.remove_query_logger(log)

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    hooks: list[tuple[str, Any]] = [("checkout", watch), ("checkin", unwatch), ("before_cursor_execute", note)]
    for name, hook in hooks:
        event.listen(engine, name, hook)
    yield sent
    for name, hook in hooks:
        event.remove(engine, name, hook)


async def test_round_trips(api: httpx.AsyncClient, world: World, statements: list[str]):
    doctor, patient = await world.doctor(), await world.patient()
    slots = [await world.slot(doctor) for _ in range(4)]
    counted: dict[str, int] = {}

    async def count(name: str, method: str, path: str, **request: Any) -> httpx.Response:
        statements.clear()
        answer = await api.request(method, path, **request)
        assert answer.status_code < 300, answer.text
        counted[name] = len(statements)
        return answer

    for slot in slots[:2]:  # the first time, statements are prepared and types are looked up
        body = booking(patient, doctor, slot)
        booked = await count("book", "POST", "/appointments/book", json=body, headers=patient.headers)
        await count("cancel", "POST", f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)
        await count("list slots", "GET", "/slots", params={"doctor_id": doctor.doctor_id})
        await count("profile", "GET", "/auth/profile", headers=patient.headers)
        headers = {**patient.headers, "Idempotency-Key": f"key {slot}"}
        await count("book with a key", "POST", "/appointments/book", json=body, headers=headers)
    assert counted == {"book": 4, "book with a key": 7, "cancel": 5, "list slots": 1, "profile": 1}
