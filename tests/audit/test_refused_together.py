"""The rows of requests that are refused at the same time: all there, few transactions, each on its own."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import asyncpg
import pytest
from structlog.testing import capture_logs

from health_services.access.recording import Refusals
from health_services.access.trail import Trail
from health_services.audit.sealer import Sealer
from health_services.database.driver import fetch_text
from health_services.database.engine import Database
from health_services.database.sealing import Vault
from health_services.errors import AuthorizationException, SlotUnavailableException
from tests.audit.entries import Auditor
from tests.servers import TestDatabase

ROWS = "SELECT request_id, status FROM audit_log ORDER BY id"
TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM audit_log"


def trail(name: str) -> Trail:
    return Trail(action="book_appointment", address="127.0.0.1", request_id=name)


@pytest.fixture
def refusals(written: Database) -> Refusals:
    return Refusals(written)


async def test_each_has_its_row_before_its_answer(
    refusals: Refusals, owner: asyncpg.Connection, sealer: Sealer, auditor: Auditor
):
    one_at_a_time = asyncio.Lock()

    async def refuse(name: str) -> None:
        await refusals.record(trail(name), SlotUnavailableException())
        async with one_at_a_time:
            assert name in [row["request_id"] for row in await owner.fetch(ROWS)]

    await asyncio.gather(*(refuse(f"request-{n}") for n in range(30)))
    assert sorted(row["request_id"] for row in await owner.fetch(ROWS)) == sorted(f"request-{n}" for n in range(30))
    assert await owner.fetchval(TRANSACTIONS) == 1
    await refusals.record(trail("later"), AuthorizationException())
    assert tuple((await owner.fetch(ROWS))[-1]) == ("later", 403)
    await sealer.seal_some()
    assert (await auditor.whole()).entries == 31


async def test_one_that_cannot_be_kept_keeps_no_other_out(refusals: Refusals, owner: asyncpg.Connection):
    names = ["first", "no\0text", "last"]
    with capture_logs() as logs:
        await asyncio.gather(*(refusals.record(trail(name), SlotUnavailableException()) for name in names))
    assert [row["request_id"] for row in await owner.fetch(ROWS)] == ["first", "last"]
    assert [(log["event"], log["request_id"], log["status"]) for log in logs] == [("not audited", "no\0text", 409)]


@pytest.mark.parametrize("number", [2**63, 2**70], ids=["by the driver", "by the seal"])
async def test_one_that_cannot_be_written_keeps_no_other_out(
    refusals: Refusals, owner: asyncpg.Connection, number: int
):
    trails = [trail("first"), trail("too large"), trail("last")]
    trails[1].user_id = number
    with capture_logs() as logs:
        await asyncio.gather(*(refusals.record(each, SlotUnavailableException()) for each in trails))
    assert [row["request_id"] for row in await owner.fetch(ROWS)] == ["first", "last"]
    assert [log["request_id"] for log in logs] == ["too large"]


async def test_who_goes_away_is_told_of_nevertheless(refusals: Refusals, owner: asyncpg.Connection):
    gone, stays = (
        asyncio.create_task(refusals.record(trail(n), SlotUnavailableException())) for n in ("gone", "stays")
    )
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert [row["request_id"] for row in await owner.fetch(ROWS)] == ["gone", "stays"]


@pytest.mark.parametrize("count", [1, 3])
async def test_a_connection_that_was_closed_meanwhile_costs_no_row(
    database: TestDatabase, owner: asyncpg.Connection, as_app: asyncpg.Connection, vault: Vault, count: int
):
    """As a firewall does it, or a database that starts anew."""
    one = Database.connect(database.app_url, role=None, pool_size=1, pool_timeout=5, timeouts={}, vault=vault)
    refusals = Refusals(one)
    await refusals.record(trail("before"), SlotUnavailableException())
    async with one.reading() as session:
        (pid,) = (await fetch_text(session, "SELECT pg_backend_pid()"))[0]
    assert await as_app.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
    await asyncio.gather(*(refusals.record(trail(f"after {n}"), SlotUnavailableException()) for n in range(count)))
    assert await owner.fetchval("SELECT count(*) FROM audit_log WHERE request_id LIKE 'after%'") == count
    await one.close()


async def test_a_writer_that_dies_leaves_nobody_waiting(
    written: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    refusals = Refusals(replace(written, reading=_Unreachable))  # type: ignore[arg-type]
    with monkeypatch.context() as broken, suppress(ValueError):
        broken.setattr("health_services.access.recording.log.error", _closed)
        async with asyncio.timeout(30):
            await asyncio.gather(*(refusals.record(trail(name), SlotUnavailableException()) for name in "ab"))
    refusals._database = written
    async with asyncio.timeout(30):
        await refusals.record(trail("c"), SlotUnavailableException())
    assert [row["request_id"] for row in await owner.fetch(ROWS)] == ["c"]


def _closed(*_: object, **__: object) -> None:
    raise ValueError("I/O operation on closed file")


async def test_without_a_database_the_log_tells_of_it(written: Database):
    refusals = Refusals(replace(written, reading=_Unreachable))  # type: ignore[arg-type]
    with capture_logs() as logs:
        for names in (("a", "b"), ("c",)):  # it is tried again each time, and nobody waits for ever
            await asyncio.gather(*(refusals.record(trail(name), SlotUnavailableException()) for name in names))
    assert [(log["event"], log["request_id"]) for log in logs] == [("not audited", name) for name in "abc"]


class _Unreachable:
    async def __aenter__(self) -> None:
        raise ConnectionError

    async def __aexit__(self, *_: object) -> None:
        """It was never entered."""
