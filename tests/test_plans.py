"""How what is asked for most often is found among many rows: never by reading a big table whole."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, event, text

from health_services.database import embedded
from health_services.database.engine import Database
from health_services.main import create_app
from health_services.notifications.repository import LEASE, NotificationRepository
from health_services.webhooks.repository import DeliveryRepository, Room
from tests.api.answers import next_page
from tests.conftest import service_database, test_settings
from tests.crowd import make_crowd
from tests.factories import Person, World
from tests.servers import TestDatabase

BIG = (
    "appointment_slots", "appointments", "users", "doctors", "patients", "notifications", "audit_log", "sessions",
    "idempotency_keys", "webhook_deliveries",
)  # fmt: skip
# PostgreSQL may take another plan for a statement that it knows: from the sixth time on.
TIMES = 6


@dataclass
class Region:
    """The application in the crowd, and how each statement that it sends to the database would be carried out."""

    app: FastAPI
    owner: asyncpg.Connection
    people: dict[str, Person]
    values: dict[str, Any]
    plans: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def explained(self, *databases: Database) -> Iterator[None]:
        """Explain each statement just before it is carried out: in its transaction, for whom that acts, as it is."""
        engines = [engine.sync_engine for database in databases for engine in database.engines]

        def explain(connection: Connection, _: Any, statement: str, parameters: Any, *__: Any) -> None:
            if not statement.startswith("EXPLAIN"):
                rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
                self.plans.append((statement, "\n".join(rows)))

        fetch = asyncpg.Connection.fetch

        async def explained(driver: asyncpg.Connection, statement: str, *values: Any, **options: Any) -> Any:
            rows = await fetch(driver, f"EXPLAIN {statement}", *values)
            self.plans.append((statement, "\n".join(row[0] for row in rows)))
            return await fetch(driver, statement, *values, **options)

        self.plans.clear()
        for engine in engines:
            event.listen(engine, "before_cursor_execute", explain)
        with patch.object(asyncpg.Connection, "fetch", explained):  # what does not go through SQLAlchemy
            yield
        for engine in engines:
            event.remove(engine, "before_cursor_execute", explain)

    async def read_whole(self, *databases: Database) -> dict[str, int]:
        """How often each big table was, as the server counts it, also by triggers and in functions."""
        for engine in (engine for database in databases for engine in database.engines):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_stat_force_next_flush()"))
                await connection.commit()
        await self.owner.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY ($1)"
        return {row["relname"]: row["seq_scan"] for row in await self.owner.fetch(query, BIG)}


def whole(plan: str) -> list[str]:
    """The big tables that a plan reads whole."""
    return [table for table in BIG if f"Seq Scan on {table}" in plan]


@pytest.fixture(scope="module")
async def crowd(cluster: embedded.Cluster) -> TestDatabase:
    return await make_crowd(cluster, f"crowd_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


@pytest.fixture(scope="module")
async def region(crowd: TestDatabase) -> AsyncIterator[Region]:
    app = create_app(test_settings(crowd.app_url))
    owner = await asyncpg.connect(crowd.owner_url)
    world = World(owner, app.state.tokens)
    doctor = await owner.fetchrow("SELECT * FROM doctors WHERE id = 2")
    patient = await owner.fetchrow("SELECT * FROM patients WHERE id = 101")
    slot = await owner.fetchrow("SELECT * FROM appointment_slots WHERE NOT is_booked AND slot_datetime > now() LIMIT 1")
    people = {
        "anybody": Person(0, "", {}),
        "admin": await world.admin(),
        "staff": await world.staff(doctor["clinic_id"]),
        "doctor": Person(0, "", await world.sign_in(doctor["user_id"], "doctor")),
        "patient": Person(0, "", await world.sign_in(patient["user_id"])),
    }
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    values = {
        "doctor": 2, "clinic": doctor["clinic_id"], "patient": 101,
        "visit": await owner.fetchval("SELECT max(id) FROM appointments WHERE doctor_id = 2"),
        "booking": {"patient_id": 101, "slot_id": slot["id"], "doctor_id": slot["doctor_id"],
                    "clinic_id": slot["clinic_id"]},
        "soon": f"{hour + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}",
        "later": f"{hour + timedelta(hours=2, minutes=4):%Y-%m-%dT%H:%M:%SZ}",
        "day": f"{hour - timedelta(hours=30):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    async with app.router.lifespan_context(app):
        yield Region(app, owner, people, values)
    await owner.close()


@pytest.fixture
async def api(region: Region) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(region.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client


# Each slot that is listed is found in an index of what can be booked, from the cursor on.
SLOTS = {
    "/slots": "ix_appointment_slots_bookable",
    "/slots?skip=20": "ix_appointment_slots_bookable",
    "/slots?date_from={soon}": "ix_appointment_slots_bookable",
    "/slots?date_from={soon}&date_to={later}": "ix_appointment_slots_bookable",
    "/slots?clinic_id={clinic}": "ix_appointment_slots_clinic_id_bookable",
    "/slots?clinic_id={clinic}&date_from={soon}&date_to={later}": "ix_appointment_slots_clinic_id_bookable",
    "/slots?doctor_id={doctor}": "ix_appointment_slots_doctor_id_bookable",
    "/slots?doctor_id={doctor}&date_from={soon}": "ix_appointment_slots_doctor_id_bookable",
    "/slots?doctor_id={doctor}&clinic_id={clinic}": "ix_appointment_slots_",
}
ONE = [
    "anybody /slots/50",
    "patient /auth/profile",
    "patient /patients/{patient}",
    "doctor /appointments/{visit}",
]
LISTS = [
    "anybody /doctors",
    "anybody /doctors?specialty=specialty+3",
    "anybody /doctors?clinic_id={clinic}",
    "anybody /clinics/{clinic}/doctors",
    "anybody /clinics?city=city+3",
    "patient /auth/sessions",
    "patient /patients/{patient}/appointments",
    "patient /patients/{patient}/access-log",
    "doctor /doctors/{doctor}/appointments",
    "doctor /doctors/{doctor}/appointments?status=pending",
    "doctor /doctors/{doctor}/appointments?date_from={soon}&date_to={later}",
    "doctor /appointments/{visit}/notifications",
    "staff /appointments",
    "staff /appointments?status=confirmed",
    "staff /appointments?date_from={soon}&date_to={later}",
    "admin /appointments",
    "admin /appointments?status=pending",
    "admin /appointments?status=no_show",
    "admin /appointments?clinic_id={clinic}",
    "admin /appointments?clinic_id={clinic}&status=pending",
    "admin /appointments?doctor_id={doctor}",
    "admin /appointments?patient_id={patient}",
    "admin /appointments?date_from={soon}&date_to={later}",
    "admin /notifications",
    "admin /notifications?state=queued",
    "admin /notifications?state=failed&channel=sms",
    "admin /notifications?kind=security_notice",
    "admin /notifications?channel=push",
    "admin /notifications/unreachable",
    "admin /users",
    "admin /users?role=admin",
    "admin /users?is_active=false",
    "admin /webhooks/1/deliveries",
    "admin /webhooks/1/deliveries?state=failed",
    "admin /audit",
    "admin /audit?user_id={doctor}",
    "admin /audit?patient_id={patient}",
    "admin /audit?action=erase_patient",
    "admin /audit?outcome=refused",
    "admin /audit?date_from={day}&date_to={soon}",
]


async def found(region: Region, api: httpx.AsyncClient, ask: str, *, times: int = 1) -> list[str]:
    """Plans of the statements for the answer; the address of the next page, if any, comes last."""
    who, _, address = ask.partition(" ")
    before = await region.read_whole(region.app.state.database)
    for _ in range(times):
        with region.explained(region.app.state.database):
            answer = await api.get(address, headers=region.people[who].headers)
        assert answer.status_code == 200, answer.text
        assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
    assert await region.read_whole(region.app.state.database) == before
    link = next_page(answer)
    return [*(plan for _, plan in region.plans), *([f"{who} {link.removeprefix('/api/v1')}"] if link else [])]


@pytest.mark.parametrize("ask", ONE)
async def test_nothing_is_read_whole_for_a_row(region: Region, api: httpx.AsyncClient, ask: str):
    await found(region, api, ask.format(**region.values), times=TIMES)


@pytest.mark.parametrize("ask", LISTS)
async def test_nothing_is_read_whole_for_a_page(region: Region, api: httpx.AsyncClient, ask: str):
    """Neither for the first page nor for the second, which begins at a cursor."""
    joint = "&" if "?" in ask else "?"
    *_, last = await found(region, api, f"{ask.format(**region.values)}{joint}limit=3")
    if "cursor=" in last:
        await found(region, api, last)


@pytest.mark.parametrize("path", SLOTS)
async def test_slots_are_read_in_their_order_from_the_cursor_on(region: Region, api: httpx.AsyncClient, path: str):
    address = path.format(**region.values) + ("&" if "?" in path else "?") + "limit=1"
    first, second = await found(region, api, f"anybody {address}", times=TIMES)
    after, *_ = await found(region, api, second, times=TIMES)
    for plan in (first, after):
        assert SLOTS[path] in plan, plan
        assert "Sort" not in plan or "doctor_id" in path, "a doctor's few may be sorted"
    assert "ROW(slot_datetime, id) > ROW(" in after


async def test_nothing_is_read_whole_for_a_booking(region: Region, api: httpx.AsyncClient):
    database, patient = region.app.state.database, region.people["patient"]
    before = await region.read_whole(database)
    for number in range(TIMES):
        headers = patient.headers | {"Idempotency-Key": f"key {number}"}
        with region.explained(database):
            booked = await api.post("/appointments/book", json=region.values["booking"], headers=headers)
            again = await api.post("/appointments/book", json=region.values["booking"], headers=headers)
            assert booked.status_code == 201, booked.text
            assert again.headers["idempotent-replayed"] == "true"
            cancelled = await api.post(f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)
            assert cancelled.status_code == 200, cancelled.text
        assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
        assert len(region.plans) > 9
    assert await region.read_whole(database) == before


async def test_nothing_is_read_whole_for_what_is_due(region: Region, crowd: TestDatabase):
    service = service_database(crowd, region.app)
    try:
        before = await region.read_whole(service)
        for _ in range(TIMES):
            with region.explained(service):
                async with service.reading() as session:
                    assert await NotificationRepository(session).take("email", 3, LEASE)
                    assert await NotificationRepository(session).next_due("email") is not None
                    assert await DeliveryRepository(session).claim(3, Room(2, 1, []), lease=LEASE)
            assert [(statement, plan) for statement, plan in region.plans if whole(plan)] == []
        assert await region.read_whole(service) == before
    finally:
        await service.close()


@pytest.mark.parametrize(
    ("index", "who", "address", "table"),
    [
        ("ix_appointments_patient_id", "patient", "/patients/{patient}/appointments", "appointments"),
        ("ix_users_inactive", "admin", "/users?is_active=false&limit=3", "users"),
        ("ix_audit_log_patient", "admin", "/audit?patient_id={patient}", "audit_log"),
    ],
)
async def test_it_shows_where_an_index_is_missing(
    region: Region, api: httpx.AsyncClient, index: str, who: str, address: str, table: str
):
    """In a plan of the statement, or, where a function asks, in the server's count."""
    database = region.app.state.database
    definition = await region.owner.fetchval("SELECT pg_get_indexdef($1::text::regclass)", index)
    before = (await region.read_whole(database))[table]
    await region.owner.execute(f"DROP INDEX {index}")
    try:
        with region.explained(database):
            answer = await api.get(address.format(**region.values), headers=region.people[who].headers)
        assert answer.status_code == 200
    finally:
        await region.owner.execute(definition)
    counted = (await region.read_whole(database))[table] > before
    assert counted or table in [name for _, plan in region.plans for name in whole(plan)]
