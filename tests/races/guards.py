"""Guards taken away and put back, and windows held open, so that a race is lost for certain where nothing guards it.

On the way out the tables are emptied first: what happened without a guard could not live under it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.conftest import TABLES
from tests.invariants import INVARIANTS
from tests.races.callers import PATIENCE_SECONDS, Answer, Crowd, Tally, tally

# What these races can break beside the invariants of the booking.
MORE = {
    "an e-mail address belongs to one account": """
        SELECT lower(email) FROM users GROUP BY 1 HAVING count(*) > 1""",
    "an idempotency key has one answer": """
        SELECT user_id FROM idempotency_keys GROUP BY user_id, key_hash HAVING count(*) > 1""",
}


async def broken(owner: asyncpg.Connection) -> set[str]:
    """The names of the invariants that do not hold."""
    return {name for name, query in (INVARIANTS | MORE).items() if await owner.fetch(query)}


@asynccontextmanager
async def _emptied_before(owner: asyncpg.Connection, *restore: str) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await _empty(owner)
        for statement in restore:
            await owner.execute(statement)


async def _empty(owner: asyncpg.Connection) -> None:
    """The servers' workers look at the tables at any time, in an order of their own: one of the two is sent away."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await owner.execute(f"TRUNCATE {TABLES} RESTART IDENTITY")
            except asyncpg.DeadlockDetectedError:
                continue
            return


@asynccontextmanager
async def without_constraint(owner: asyncpg.Connection, table: str, name: str) -> AsyncIterator[None]:
    definition = await owner.fetchval("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = $1", name)
    await owner.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    async with _emptied_before(owner, f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"):
        yield


@asynccontextmanager
async def without_index(owner: asyncpg.Connection, name: str) -> AsyncIterator[None]:
    definition = await owner.fetchval("SELECT pg_get_indexdef($1::regclass)", name)
    await owner.execute(f"DROP INDEX {name}")
    async with _emptied_before(owner, definition):
        yield


@asynccontextmanager
async def without_trigger(owner: asyncpg.Connection, table: str, name: str) -> AsyncIterator[None]:
    await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
    async with _emptied_before(owner, f"ALTER TABLE {table} ENABLE TRIGGER {name}"):
        yield


@asynccontextmanager
async def rewritten(owner: asyncpg.Connection, function: str, *changes: tuple[str, str]) -> AsyncIterator[None]:
    """The function with some of its words changed; fails where it does not have them any more."""
    query = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1"
    original = await owner.fetchval(query, function)
    text = original
    for old, new in changes:
        assert text.count(old) == 1, f"{function} has not once: {old}"
        text = text.replace(old, new)
    await owner.execute(text)
    async with _emptied_before(owner, original):
        yield


@asynccontextmanager
async def window(owner: asyncpg.Connection, when: str, seconds: float) -> AsyncIterator[None]:
    """A pause in every transaction at this point, as in "BEFORE INSERT ON appointments FOR EACH ROW"."""
    await owner.execute(
        f"""CREATE FUNCTION zz_window() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"""
    )
    await owner.execute(f"CREATE TRIGGER zz_window {when} EXECUTE FUNCTION zz_window()")
    try:
        yield
    finally:
        await owner.execute("DROP FUNCTION zz_window CASCADE")


GATE = "PERFORM pg_advisory_xact_lock_shared(4711);"


@asynccontextmanager
async def gate(owner: asyncpg.Connection, watcher: asyncpg.Connection, when: str | None = None) -> AsyncIterator[None]:
    """Every transaction that comes to this point waits until the gate is opened for all.

    Without `when` it is for functions that were rewritten to contain GATE.
    """
    await owner.execute(
        f"""CREATE FUNCTION zz_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {GATE} RETURN NEW; END $$"""
    )
    if when:
        await owner.execute(f"CREATE TRIGGER zz_gate {when} EXECUTE FUNCTION zz_gate()")
    await watcher.execute("SELECT pg_advisory_lock(4711)")
    try:
        yield
    finally:
        await watcher.execute("SELECT pg_advisory_unlock_all()")
        await owner.execute("DROP FUNCTION zz_gate CASCADE")


_AT_THE_GATE = """SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database()
                  WHERE locktype = 'advisory' AND (classid, objid) = (0, 4711) AND NOT granted"""
_HELD_UP_BY_A_BOOKING = """
    SELECT EXISTS (SELECT FROM pg_stat_activity s CROSS JOIN unnest(pg_blocking_pids(s.pid)) AS b (pid)
                   JOIN pg_stat_activity w ON w.pid = b.pid
                   WHERE s.datname = current_database()
                     AND s.query NOT LIKE 'WITH place%' AND w.query LIKE 'WITH place%')"""


async def _gathered_at_the_gate(watcher: asyncpg.Connection, count: int) -> None:
    while await watcher.fetchval(_AT_THE_GATE) < count:
        await asyncio.sleep(0.005)


async def held_up(watcher: asyncpg.Connection, count: int) -> None:
    """Return once so many transactions wait, at the gate or for one that stands there."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await watcher.fetchval(waiting) < count:
            await asyncio.sleep(0.005)


async def through_the_gate(watcher: asyncpg.Connection, crowd: Crowd, count: int) -> list[Answer]:
    """All go; the gate opens when so many of them stand in it, having seen the same and written nothing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        going = asyncio.create_task(crowd.go())
        await _gathered_at_the_gate(watcher, count)
        await watcher.execute("SELECT pg_advisory_unlock_all()")
        return await going


async def in_the_gate(
    watcher: asyncpg.Connection, bookers: Crowd, others: Crowd, *, is_held_up: bool
) -> tuple[Tally, Tally]:
    """The others go when the first booker stands in the gate; it opens when they are done.

    With `is_held_up` they have to wait for the booker, and it opens when they do.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        booking = asyncio.create_task(bookers.go())
        await _gathered_at_the_gate(watcher, 1)
        other = asyncio.create_task(others.go())
        while not other.done() and not (is_held_up and await watcher.fetchval(_HELD_UP_BY_A_BOOKING)):
            await asyncio.sleep(0.005)
        await watcher.execute("SELECT pg_advisory_unlock_all()")
        return tally(await booking), tally(await other)
