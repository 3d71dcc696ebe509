"""What PostgreSQL refuses, seen by a caller: real conflicts of connections, and a database that goes away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from health_services.access.route import ATTEMPTS
from health_services.database.constraints import translate
from health_services.main import create_app
from tests.conftest import test_settings
from tests.factories import World, booking, soon
from tests.servers import TestDatabase, named

UNAVAILABLE = (503, "UNAVAILABLE")


def code(answer: httpx.Response) -> tuple[int, str]:
    """The status and what programs read."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["error_code"]


@asynccontextmanager
async def other_connection(database: TestDatabase, url: str | None = None) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url or database.owner_url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_somebody_waits(database: TestDatabase) -> int:
    """The process of a connection, once there is one, that waits for a lock; only a superuser sees that of others."""
    waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    watcher = await asyncpg.connect(database.admin_url)
    try:
        while (pid := await watcher.fetchval(waits)) is None:
            await asyncio.sleep(0.01)
        return int(pid)
    finally:
        await watcher.close()


@asynccontextmanager
async def failing(owner: asyncpg.Connection, table: str, body: str) -> AsyncIterator[None]:
    """Let the database itself run `body` for each row that comes into the table."""
    await owner.execute("CREATE SEQUENCE attempts")
    await owner.execute(
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
            BEGIN PERFORM nextval('attempts'); {body} RETURN NEW; END $$"""
    )
    await owner.execute(f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()")
    try:
        yield
    finally:
        await owner.execute("DROP FUNCTION fail() CASCADE")
        await owner.execute("DROP SEQUENCE attempts")


async def tries(owner: asyncpg.Connection) -> int:
    return int(await owner.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM attempts"))


async def test_an_overlap_that_only_the_constraint_sees_is_409(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, start = await world.doctor(), soon()
    body = {
        "doctor_id": doctor.doctor_id,
        "clinic_id": doctor.clinic_id,
        "slot_datetime": (start + timedelta(minutes=15)).isoformat(),
    }
    async with other_connection(database) as other:
        transaction = other.transaction()
        await transaction.start()
        insert = "INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime) VALUES ($1, $2, $3)"
        await other.execute(insert, doctor.doctor_id, doctor.clinic_id, start)
        waiting = asyncio.create_task(api.post("/slots", json=body, headers=doctor.headers))
        await until_somebody_waits(database)
        await transaction.commit()
        assert code(await waiting) == (409, "CONFLICT")
    assert await owner.fetchval("SELECT count(*) FROM appointment_slots") == 1


async def test_a_deadlock_is_run_again_and_succeeds(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    async with other_connection(database, database.admin_url) as other, other.transaction():
        # this one will not be the victim: PostgreSQL sends away who looks first
        await other.execute("SET LOCAL deadlock_timeout = '60s'")
        await other.execute("SELECT FROM appointment_slots WHERE id = $1 FOR UPDATE", slot)
        book = asyncio.create_task(
            api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
        )
        await until_somebody_waits(database)
        # the booking holds its patient's row and waits for the slot; now wait for the booking
        await other.execute("SELECT FROM patients WHERE id = $1 FOR UPDATE", patient.patient_id)
    answer = await book
    assert answer.status_code == 201, answer.text
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_a_conflict_that_stays_is_409_after_a_bound(
    sqlstate: str, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    async with failing(owner, "appointments", f"RAISE EXCEPTION 'again' USING ERRCODE = '{sqlstate}';"):
        answer = await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
        assert code(answer) == (409, "CONFLICT")
        assert await tries(owner) == ATTEMPTS
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 0


async def test_a_conflict_that_passes_is_not_seen(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    is_early = f"(SELECT last_value FROM attempts) < {ATTEMPTS}"
    body = f"IF {is_early} THEN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END IF;"
    async with failing(owner, "appointments", body):
        answer = await api.post(
            "/appointments/book",
            json=booking(patient, doctor, slot),
            headers=patient.headers | {"Idempotency-Key": "once"},
        )
        assert answer.status_code == 201, answer.text
        assert await tries(owner) == ATTEMPTS
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 1


@asynccontextmanager
async def application(url: str, **changes: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application of its own, with other settings."""
    app: FastAPI = create_app(test_settings(url).model_copy(update=changes))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
            yield client


async def test_a_lock_that_is_not_given_is_503_and_changes_nothing(
    world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    async with application(database.app_url, lock_timeout_ms=100) as api:
        body = booking(patient, doctor, slot)
        async with other_connection(database) as other, other.transaction():
            await other.execute("SELECT FROM appointment_slots WHERE id = $1 FOR UPDATE", slot)
            answer = await api.post("/appointments/book", json=body, headers=patient.headers)
        assert code(answer) == UNAVAILABLE
        assert answer.headers["retry-after"]
        assert await owner.fetchval("SELECT count(*) FROM appointments") == 0
        again = await api.post("/appointments/book", json=body, headers=patient.headers)
        assert again.status_code == 201


async def test_a_statement_that_takes_too_long_is_503(world: World, owner: asyncpg.Connection, database: TestDatabase):
    admin = await world.admin()
    async with application(database.app_url, statement_timeout_ms=100) as api:
        async with failing(owner, "clinics", "PERFORM pg_sleep(30);"):
            answer = await api.post("/clinics", json={"name": "Slow"}, headers=admin.headers)
        assert code(answer) == UNAVAILABLE


async def test_a_connection_that_breaks_is_503_and_the_next_request_is_served(
    world: World, owner: asyncpg.Connection, database: TestDatabase
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    body = booking(patient, doctor, slot)
    admin = await asyncpg.connect(database.admin_url)
    async with application(database.app_url) as api:
        async with other_connection(database) as other, other.transaction():
            await other.execute("SELECT FROM appointment_slots WHERE id = $1 FOR UPDATE", slot)
            book = asyncio.create_task(api.post("/appointments/book", json=body, headers=patient.headers))
            await admin.execute("SELECT pg_terminate_backend($1)", await until_somebody_waits(database))
            assert code(await book) == UNAVAILABLE
        assert await owner.fetchval("SELECT count(*) FROM appointments") == 0
        assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201
    await admin.close()


async def test_a_database_that_is_away_is_503(database: TestDatabase, world: World):
    person = await world.patient()
    async with application(named(database.app_url, "there_is_no_such_database")) as api:
        assert code(await api.get("/clinics")) == UNAVAILABLE
        assert code(await api.get("/auth/profile", headers=person.headers)) == UNAVAILABLE
        assert (await api.get("http://test/readyz")).status_code == 503
        assert (await api.get("http://test/healthz")).status_code == 200


@pytest.mark.parametrize("sqlstate", ["22021", "22003", "22P05"])
async def test_a_value_that_only_the_database_refuses_is_400(
    sqlstate: str, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    async with failing(owner, "clinics", f"RAISE EXCEPTION 'secret' USING ERRCODE = '{sqlstate}';"):
        answer = await api.post("/clinics", json={"name": "Any"}, headers=admin.headers)
    assert code(answer) == (400, "VALIDATION_ERROR")
    assert "secret" not in answer.text


@pytest.mark.parametrize("value", ["\x00", 2**63], ids=["NUL", "beyond bigint"])
async def test_what_the_driver_itself_refuses_is_400(app: FastAPI, value: object):
    async with app.state.database.reading() as session:
        kind = "text" if isinstance(value, str) else "bigint"
        with pytest.raises(DBAPIError) as refused:
            await (await session.connection()).exec_driver_sql(f"SELECT $1::{kind}", (value,))
    refusal = translate(refused.value)
    assert refusal is not None
    assert (refusal.status, refusal.error_code) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("body", ["RAISE EXCEPTION 'secret of table users';", "PERFORM 1 / 0 FROM no_such_table;"])
async def test_an_error_that_nobody_foresaw_is_500_and_tells_nothing(
    body: str, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, capsys: pytest.CaptureFixture[str]
):
    admin = await world.admin()
    async with failing(owner, "clinics", body):
        answer = await api.post("/clinics", json={"name": "Confidential"}, headers=admin.headers)
    assert code(answer) == (500, "INTERNAL_ERROR")
    output = capsys.readouterr()
    for word in ("secret", "no_such_table", "INSERT", "asyncpg", "Confidential"):
        assert word not in answer.text
    for word in ("secret", "no_such_table", "Confidential"):
        assert word not in output.out + output.err
