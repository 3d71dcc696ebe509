"""The door beneath SQLAlchemy: what the database says there is heard as it is heard elsewhere."""

import asyncio

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError

from health_services.database import embedded
from health_services.database.constraints import translate
from health_services.database.driver import Statement, fetch_text
from health_services.database.postponed import Write, postpone, write_all
from health_services.errors import ConflictException, UnavailableException
from tests.factories import World

KILL = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
          WHERE datname = $1 AND application_name = 'health-services'"""


async def test_names_become_places():
    statement = Statement("SELECT :one, :two::text, CAST(:one AS int)")
    assert (statement.text, statement.names) == ("SELECT $1, $2::text, CAST($1 AS int)", ("one", "two"))


async def test_it_is_the_sessions_own_transaction(app: FastAPI, world: World, owner: asyncpg.Connection):
    """Both kinds of statement, in any order, and nothing of it after a rollback."""
    make, count = "INSERT INTO clinics (name) VALUES ('New')", "SELECT count(*) FROM clinics"
    for first in (True, False):
        async with app.state.database.writing() as session:
            if first:
                await fetch_text(session, make)
                assert await session.scalar(text(count)) == 1
            else:
                await session.execute(text(make))
                assert (await fetch_text(session, count))[0].count == 1
            await session.rollback()
            assert (await fetch_text(session, count))[0].count == 0
            await fetch_text(session, make)
            await session.commit()
        assert await owner.fetchval(count) == 1
        await owner.execute("DELETE FROM clinics")


async def test_a_refusal_is_translated(app: FastAPI, world: World):
    doctor = await world.doctor()
    query = "INSERT INTO doctors (user_id, clinic_id, specialty, license_number) VALUES ($1, $2, 'S', 'L')"
    async with app.state.database.writing() as session:
        with pytest.raises(DBAPIError) as refused:
            await fetch_text(session, query, doctor.user_id, doctor.clinic_id)
    assert isinstance(translate(refused.value), ConflictException)


async def test_a_connection_that_broke_is_unavailable():
    broken = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
    broken.__cause__ = ConnectionResetError()
    assert isinstance(translate(DBAPIError("SELECT 1", None, broken)), UnavailableException)
    confused = InterfaceError("SELECT 1", None, asyncpg.InternalClientError("another operation is in progress"))
    assert isinstance(translate(confused), UnavailableException)


async def test_after_one_failure_no_dead_connection_is_used(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, cluster: embedded.Cluster
):
    admin, name = await asyncpg.connect(cluster.admin_url), await owner.fetchval("SELECT current_database()")
    patient = await world.patient()

    async def profile() -> int:
        return (await api.get("/auth/profile", headers=patient.headers)).status_code

    assert set(await asyncio.gather(*(profile() for _ in range(8)))) == {200}
    assert await admin.fetchval(KILL, name) >= 2
    async with asyncio.timeout(60):
        while await admin.fetchval(KILL, name):
            await asyncio.sleep(0.01)
    await admin.close()
    assert await profile() == 503
    assert [await profile() for _ in range(8)] == [200] * 8
    for database in (app.state.database, app.state.worker_database):  # other tests want none of the dead either
        for engine in database.engines:
            await engine.dispose()


async def test_what_is_postponed_is_written_with_the_commit(app: FastAPI, owner: asyncpg.Connection):
    """Also where nobody asks for it, and once."""
    write = Write((("made", "INSERT INTO clinics (name) VALUES (:clinic_name) RETURNING 1"),), is_counted=True)
    for commits in (True, False):
        async with app.state.database.writing() as session:
            await session.execute(text("SELECT 1"))
            postpone(session, write, {"clinic_name": "Later"})
            if not commits:
                await session.rollback()
                await session.execute(text("SELECT 1"))  # a transaction of its own, which knows nothing of that
            await session.commit()
        assert await owner.fetchval("SELECT count(*) FROM clinics") == 1
    async with app.state.database.writing() as session, session.begin():
        postpone(session, write, {"clinic_name": "Now"})
        assert await write_all(session) == {"made": 1}
        assert await write_all(session) == {}
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 2
