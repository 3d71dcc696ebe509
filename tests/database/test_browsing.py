"""The public directory on a replica: read there, from the main database where it fails, and there again later."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from health_services.database import browsing
from health_services.database.engine import Database
from tests.database.test_constraints import application, code
from tests.factories import World
from tests.limits.clocks import Clock
from tests.servers import TestDatabase, named

# How PostgreSQL ends what a replica is asked: a conflict with what it replays, a shutdown, no memory; a table that the
# replica has not heard of yet.
FAILURES = ["40001", "40P01", "57P01", "57P02", "53200", "42P01"]
MAIN, REPLICA = 1, 2


@pytest.fixture
async def both(database: TestDatabase) -> AsyncIterator[Database]:
    """The same database twice, once as its own replica."""
    timeouts: dict[str, int] = {}
    url = database.app_url
    connected = Database.connect(url, role=None, pool_size=1, pool_timeout=60, timeouts=timeouts, replica_url=url)
    yield connected
    await connected.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A time that stands still."""
    clock = Clock(1000)
    monkeypatch.setattr(browsing, "monotonic", clock)
    return clock


class Visitor:
    """Looks, and notes where; the replica fails him as long as there is a failure."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seen: list[int] = []
        self.failure: str | None = None

    async def look(self, session: AsyncSession) -> int:
        pools = [engine.pool for engine in self.database.engines]
        where = pools.index(session.get_bind().engine.pool)
        self.seen.append(where)
        if where == REPLICA and self.failure:
            await session.execute(text(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{self.failure}'; END $$"))
        return int(await session.scalar(text("SELECT 7")) or 0)

    async def reads(self, *, from_main: bool = False) -> list[int]:
        """Where he looked, in order."""
        self.seen.clear()
        assert await self.database.browsing.read(self.look, from_main=from_main) == 7
        return self.seen


async def test_the_replica_is_read_and_nothing_is_written_there(both: Database):
    visitor = Visitor(both)
    assert await visitor.reads() == [REPLICA]
    assert await visitor.reads(from_main=True) == [MAIN]
    for from_main in (True, False):
        with pytest.raises(DBAPIError, match="read-only"):
            await both.browsing.read(lambda session: session.execute(text("DELETE FROM clinics")), from_main=from_main)


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_replica_that_fails_is_left_alone_for_a_while(both: Database, clock: Clock, failure: str):
    visitor = Visitor(both)
    visitor.failure = failure
    with capture_logs() as logs:
        assert await visitor.reads() == [REPLICA, MAIN]
        for _ in range(3):
            assert await visitor.reads() == [MAIN]
        clock.now += browsing.PAUSE_SECONDS
        assert await visitor.reads() == [REPLICA, MAIN]
        assert await visitor.reads() == [MAIN]
        assert [log["event"] for log in logs] == ["the replica does not answer; the main database does"]
        visitor.failure = None
        clock.now += browsing.PAUSE_SECONDS
        for _ in range(3):
            assert await visitor.reads() == [REPLICA]
        assert [log["event"] for log in logs][1:] == ["the replica answers again"]


async def test_while_one_looks_whether_it_is_back_nobody_waits_for_him(both: Database, clock: Clock):
    visitor = Visitor(both)
    visitor.failure = "57P01"
    await visitor.reads()
    clock.now += browsing.PAUSE_SECONDS
    is_asked, answers = asyncio.Event(), asyncio.Event()

    async def look(session: AsyncSession) -> int:
        is_asked.set()
        await answers.wait()
        return await visitor.look(session)

    visitor.failure = None
    first = asyncio.create_task(both.browsing.read(look))
    await is_asked.wait()
    assert await visitor.reads() == [MAIN]
    answers.set()
    await first
    assert await visitor.reads() == [REPLICA]


async def test_a_replica_that_says_nothing_is_not_waited_for(both: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(browsing, "PATIENCE_SECONDS", 0.1)
    visitor = Visitor(both)

    async def look(session: AsyncSession) -> int:
        if session.get_bind().engine.pool is both.engines[REPLICA].pool:
            await session.execute(text("SELECT pg_sleep(60)"))
        return await visitor.look(session)

    assert await both.browsing.read(look) == 7
    assert visitor.seen == [MAIN]


async def test_what_is_the_callers_fault_speaks_against_no_replica(both: Database):
    visitor = Visitor(both)
    visitor.failure = "22021"
    assert await visitor.reads() == [REPLICA, MAIN]
    assert await visitor.reads() == [REPLICA, MAIN]


async def test_without_its_replica_the_service_answers(database: TestDatabase, world: World):
    await world.clinic(name="Here")
    admin = await world.admin()
    async with application(database.app_url, read_database_url=SecretStr("postgresql://a:b@127.0.0.1:1/none")) as api:
        with capture_logs() as logs:
            for _ in range(3):
                assert [clinic["name"] for clinic in (await api.get("/clinics")).json()] == ["Here"]
        assert [log["event"] for log in logs if log["log_level"] == "warning"] == [
            "the replica does not answer; the main database does"
        ]
        assert (await api.get("http://test/readyz")).status_code == 200
        assert (await api.post("/clinics", json={"name": "There"}, headers=admin.headers)).status_code == 201


async def test_who_shows_who_he_is_reads_the_main_database(database: TestDatabase, world: World):
    """The replica is one that never hears of anything."""
    admin = await world.admin()
    other = named(database.app_url, "there_is_no_such_database")
    async with application(other, read_database_url=SecretStr(database.app_url)) as api:
        assert (await api.get("/clinics")).status_code == 200
        for headers in (admin.headers, {"X-API-Key": "whatever"}):
            assert code(await api.get("/clinics", headers=headers)) == (503, "UNAVAILABLE")
