"""A session goes without SQLAlchemy's own as long as it can, and nobody can tell."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from health_services.database.driver import fetch_text
from health_services.database.engine import Database
from health_services.database.postponed import Write, postpone
from health_services.database.session import LeanSession
from tests.servers import TestDatabase

MAKE, COUNT = "INSERT INTO clinics (name) VALUES ('New')", "SELECT count(*) FROM clinics"
MADE_LATER = Write((("made", "INSERT INTO clinics (name) VALUES (:clinic_name) RETURNING 1"),), is_counted=True)


@pytest.fixture
async def opened(app: FastAPI, owner: asyncpg.Connection) -> Database:
    """The application's, whose connections are all given back when a test ends."""
    found: Database = app.state.database
    return found


def is_lean(session: AsyncSession) -> bool:
    assert isinstance(session, LeanSession)
    return session._whole is None


def nobody_holds_a_connection(database: Database) -> bool:
    return all(engine.pool.checkedout() == 0 for engine in database.engines)  # type: ignore[attr-defined]


async def test_it_stays_lean_while_only_the_driver_is_asked(opened: Database, owner: asyncpg.Connection):
    async with opened.writing() as session:
        await fetch_text(session, MAKE)
        postpone(session, Write(MADE_LATER.parts), {"clinic_name": "Later"})
        assert is_lean(session)
    assert await owner.fetchval(COUNT) == 0
    async with opened.writing() as session:
        await fetch_text(session, MAKE)
        await session.commit()
        assert is_lean(session)
        await fetch_text(session, MAKE)  # a transaction of its own, which nobody commits
    assert await owner.fetchval(COUNT) == 1
    async with opened.reading() as session:
        await fetch_text(session, COUNT)
        assert is_lean(session)
    assert nobody_holds_a_connection(opened)


async def test_what_was_postponed_is_written_by_any_commit(opened: Database, owner: asyncpg.Connection):
    for before in ((), (MAKE,)):
        async with opened.writing() as session:
            for query in before:
                await fetch_text(session, query)
            postpone(session, MADE_LATER, {"clinic_name": "Later"})
            await session.commit()
    assert await owner.fetchval(COUNT) == 3
    assert nobody_holds_a_connection(opened)


async def test_statements_that_stand_alone_need_no_commit(opened: Database, owner: asyncpg.Connection):
    async with opened.reading() as session:
        await fetch_text(session, MAKE)
        assert await owner.fetchval(COUNT) == 1
        await session.execute(text(MAKE))
        assert await owner.fetchval(COUNT) == 2
        await fetch_text(session, MAKE)
        assert await owner.fetchval(COUNT) == 3
    assert nobody_holds_a_connection(opened)


async def test_a_block_that_fails_leaves_nothing(opened: Database, owner: asyncpg.Connection):
    for is_whole in (False, True):
        with pytest.raises(ZeroDivisionError):
            async with opened.writing() as session:
                await fetch_text(session, MAKE)
                if is_whole:
                    await session.execute(text(MAKE))
                raise ZeroDivisionError
    assert await owner.fetchval(COUNT) == 0
    assert nobody_holds_a_connection(opened)


async def test_a_commit_that_is_refused_is_heard(opened: Database, owner: asyncpg.Connection):
    """By a constraint that is looked at only then."""
    await owner.execute("""
        CREATE TABLE checked_late (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
        GRANT INSERT, SELECT ON checked_late TO health_app""")
    try:
        async with opened.writing() as session:
            for _ in range(2):
                await fetch_text(session, "INSERT INTO checked_late VALUES (1)")
            with pytest.raises(DBAPIError) as refused:
                await session.commit()
        assert isinstance(refused.value.orig, asyncpg.UniqueViolationError)
        assert await owner.fetchval("SELECT count(*) FROM checked_late") == 0
    finally:
        await owner.execute("DROP TABLE checked_late")
    assert nobody_holds_a_connection(opened)


async def test_who_is_interrupted_leaves_a_connection_that_works(opened: Database, owner: asyncpg.Connection):
    async def interrupted(session: AsyncSession) -> None:
        async with session:
            await fetch_text(session, MAKE)
            await fetch_text(session, "SELECT pg_sleep(60)")

    for _ in range(3):
        for make in (opened.writing, opened.reading):
            task = asyncio.create_task(interrupted(make()))
            await asyncio.sleep(0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert nobody_holds_a_connection(opened)
            async with make() as session:
                assert (await fetch_text(session, "SELECT 1 AS one"))[0].one == 1
    assert await owner.fetchval(COUNT) == 3  # those that stand alone


@pytest.mark.parametrize("begin", ["begin", "begin_nested"])
async def test_nothing_is_begun_within_what_the_driver_has_begun(opened: Database, begin: str):
    async with opened.writing() as session:
        await fetch_text(session, MAKE)
        with pytest.raises(InvalidRequestError, match="begun a transaction"):
            getattr(session, begin)()


async def test_sqlalchemy_joins_the_drivers_transaction(opened: Database, owner: asyncpg.Connection):
    """And the other way round; `begin` is SQLAlchemy's too."""
    async with opened.writing() as session:
        await fetch_text(session, MAKE)
        assert await session.scalar(text(COUNT)) == 1
        assert isinstance(session.sync_session, Session)
        await session.execute(text(MAKE))
        await session.commit()
    assert await owner.fetchval(COUNT) == 2
    async with opened.writing() as session, session.begin():
        await fetch_text(session, MAKE)
        postpone(session, MADE_LATER, {"clinic_name": "Later"})
    assert await owner.fetchval(COUNT) == 4
    with pytest.raises(ZeroDivisionError):
        async with opened.writing() as session, session.begin():
            await fetch_text(session, MAKE)
            raise ZeroDivisionError
    assert await owner.fetchval(COUNT) == 4
    assert nobody_holds_a_connection(opened)


async def test_a_connection_is_given_back_when_the_transaction_ends(opened: Database, owner: asyncpg.Connection):
    """And another one is found for what comes afterwards."""
    for end in ("commit", "rollback"):
        async with opened.writing() as session:
            await fetch_text(session, MAKE)
            await session.execute(text(MAKE))
            await getattr(session, end)()
            assert nobody_holds_a_connection(opened)
            assert await session.scalar(text(COUNT)) == 2
            assert (await fetch_text(session, COUNT))[0].count == 2
            await session.execute(text(MAKE))
        assert await owner.fetchval(COUNT) == 2
    assert nobody_holds_a_connection(opened)


async def test_who_is_interrupted_while_he_commits_leaves_no_connection_in_it(
    opened: Database, owner: asyncpg.Connection
):
    await owner.execute("""
        CREATE TABLE slow_to_commit (id integer);
        GRANT INSERT ON slow_to_commit TO health_app;
        CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(5); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slow_to_commit DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION be_slow()""")

    async def commit() -> None:
        async with opened.writing() as session:
            await fetch_text(session, "INSERT INTO slow_to_commit VALUES (1)")
            await session.commit()

    try:
        for _ in range(3):
            task = asyncio.create_task(commit())
            await asyncio.sleep(0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert nobody_holds_a_connection(opened)
            async with opened.writing() as session:
                await fetch_text(session, MAKE)
                await session.commit()
    finally:
        await owner.execute("DROP TABLE slow_to_commit; DROP FUNCTION be_slow")
    assert await owner.fetchval(COUNT) == 3


async def test_whoever_is_interrupted_at_any_moment_leaves_nothing_to_the_next(
    database: TestDatabase, owner: asyncpg.Connection
):
    """Neither a transaction that is open, nor whom it acts for."""
    who = "SELECT current_setting('app.user_id', true) AS user_id"
    alone = Database.connect(database.app_url, role=None, pool_size=1, pool_timeout=60, timeouts={})

    async def act() -> None:
        async with alone.writing() as session:
            await fetch_text(session, "SELECT set_config('app.user_id', '42', true)")
            await fetch_text(session, MAKE)
            await session.commit()

    await act()
    for turns in range(40):
        task = asyncio.create_task(act())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        before = await owner.fetchval(COUNT)
        async with alone.writing() as session:
            assert not (await fetch_text(session, who))[0].user_id
            await fetch_text(session, MAKE)
            await session.commit()
        # his own may have been on its way
        assert await owner.fetchval(COUNT) - before in (1, 2)
    await alone.close()
