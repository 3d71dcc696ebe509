"""What goes wrong on a session gives nobody a connection that still acts for somebody, and keeps none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from health_services.database.driver import fetch_text
from health_services.database.engine import Database
from tests.database.test_session import COUNT, MAKE, nobody_holds_a_connection
from tests.servers import TestDatabase

ACT, WHO = "SELECT set_config('app.user_id', '42', true)", "SELECT current_setting('app.user_id', true) AS who"


@pytest.fixture
async def alone(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[Database]:
    """With one connection, so that whoever comes next has it."""
    found = Database.connect(database.app_url, role=None, pool_size=1, pool_timeout=1, timeouts={})
    yield found
    await found.close()


async def works_for_nobody(database: Database, owner: asyncpg.Connection) -> bool:
    """The next one has a connection that acts for nobody, and keeps what he writes."""
    async with database.reading() as session:
        ((acts_for,),) = await fetch_text(session, WHO)
        await fetch_text(session, MAKE)
    return nobody_holds_a_connection(database) and not acts_for and await owner.fetchval(COUNT) == 1


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_what_cannot_be_ended_gives_its_connection_to_nobody(
    alone: Database, owner: asyncpg.Connection, how: str
):
    """A statement of a task that was left behind is under way when the block ends."""
    with pytest.raises(DBAPIError, match="another operation is in progress"):
        async with alone.writing() as session:
            await fetch_text(session, ACT)
            left_behind = asyncio.create_task(fetch_text(session, "SELECT pg_sleep(10)"))
            await asyncio.sleep(0.05)
            await getattr(session, how)()
    assert nobody_holds_a_connection(alone)
    with suppress(DBAPIError, asyncio.CancelledError):
        await left_behind
    assert await works_for_nobody(alone, owner)


async def test_two_tasks_that_begin_a_session_at_once_keep_no_connection(alone: Database, owner: asyncpg.Connection):
    with suppress(DBAPIError):
        async with alone.writing() as session:
            await asyncio.gather(fetch_text(session, ACT), fetch_text(session, ACT), return_exceptions=True)
    assert await works_for_nobody(alone, owner)


async def test_who_is_interrupted_when_the_driver_begins_for_sqlalchemy_leaves_nothing(
    alone: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    begun, start = asyncio.Event(), asyncpg.transaction.Transaction.start

    async def start_and_wait(transaction: asyncpg.transaction.Transaction) -> None:
        await start(transaction)
        begun.set()
        await asyncio.sleep(60)

    async def act() -> None:
        async with alone.writing() as session:
            await session.execute(text("SELECT 1"))
            await session.commit()
            monkeypatch.setattr(asyncpg.transaction.Transaction, "start", start_and_wait)
            await fetch_text(session, ACT)

    acting = asyncio.create_task(act())
    await begun.wait()
    acting.cancel()
    with suppress(asyncio.CancelledError):
        await acting
    monkeypatch.undo()
    assert await works_for_nobody(alone, owner)
