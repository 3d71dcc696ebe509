"""Through PgBouncer, which gives connections away after each transaction: nothing is lost, or the start refuses."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from health_services.database.engine import Database
from health_services.database.opening import in_transaction, lost_settings, settings_of
from health_services.errors import AuthenticationException, OperatorError
from health_services.installation import installation
from tests.conftest import test_settings
from tests.database import bouncer
from tests.database.test_constraints import application
from tests.factories import World, booking
from tests.servers import TestDatabase

pytestmark = pytest.mark.skipif(
    not bouncer.PROGRAM, reason="there is no pgbouncer here (Debian: apt install pgbouncer)"
)
ASKED = in_transaction(settings_of(role="health_app", statement_timeout_ms=1234, lock_timeout_ms=567))
SERVER_CONNECTIONS = 2
NOW = text("SELECT pg_backend_pid() AS pid, " + ", ".join(f"current_setting('{name}', true)" for name in ASKED))
LEFT = """SELECT current_setting('app.role', true), current_setting('role'), current_setting('statement_timeout'),
                 (SELECT count(*) FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared_statements%')"""


@pytest.fixture
def pooled(database: TestDatabase) -> Iterator[str]:
    """The application's URL, through a PgBouncer with fewer connections than there are users."""
    with bouncer.bouncer(database.app_url, size=SERVER_CONNECTIONS) as (url,):
        yield url


@pytest.fixture
async def requests(pooled: str) -> AsyncIterator[Database]:
    """As requests use it."""
    made = connect(pooled)
    yield made
    await made.close()


def connect(url: str, *, is_service: bool = False) -> Database:
    timeouts = {"statement_timeout_ms": 1234, "lock_timeout_ms": 567}
    return Database.connect(
        url,
        role="health_app",
        pool_size=6,
        pool_timeout=60,
        timeouts=timeouts,
        is_service=is_service,
        has_pooler=True,
    )


async def test_each_transaction_has_what_was_asked_for_and_leaves_nothing_behind(requests: Database, pooled: str):
    seen: Counter[int] = Counter()

    async def ask(number: int) -> None:
        for sessions in (requests.writing, requests.reading, requests.writing):
            async with sessions() as session:
                pid, *held = (await session.execute(NOW)).one()
                assert dict(zip(ASKED, held, strict=True)) == ASKED
                assert await session.scalar(text("SELECT CAST(:n AS int) + 1"), {"n": number}) == number + 1
                seen[pid] += 1

    await asyncio.gather(*(ask(number) for number in range(30)))
    assert (len(seen), seen.total()) == (SERVER_CONNECTIONS, 90)
    plain = await asyncpg.connect(pooled, statement_cache_size=0)
    for _ in range(4):
        async with plain.transaction():
            role, login, timeout, statements = await plain.fetchrow(LEFT)
            assert (role or "", login, timeout, statements) == ("", "none", "0", 0)
    await plain.close()


async def test_no_default_of_the_role_is_stronger(database: TestDatabase):
    admin = await asyncpg.connect(database.admin_url)
    name = await admin.fetchval("SELECT quote_ident(current_database())")
    try:
        for change in ("SET synchronous_commit = off", "SET default_transaction_isolation = serializable"):
            await admin.execute(f"ALTER ROLE health_app IN DATABASE {name} {change}")
        with bouncer.bouncer(database.app_url) as (url,):
            assert await lost_settings(url, role="health_app", has_pooler=True) == []
            for each in (url, database.app_url):
                assert await lost_settings(each, role=None, has_pooler=True) == []
        assert await lost_settings(database.app_url, role=None, has_pooler=False) == []
    finally:
        await admin.execute(f"ALTER ROLE health_app IN DATABASE {name} RESET ALL")
        await admin.close()


async def test_the_service_and_requests_share_connections_but_not_their_sight(
    requests: Database, pooled: str, world: World
):
    for _ in range(3):
        await world.patient()
    service = connect(pooled, is_service=True)
    everybody = text("SELECT count(*) FROM patients")
    counts: Counter[tuple[str, int]] = Counter()

    async def look(name: str, database: Database) -> None:
        for sessions in (database.reading, database.writing, database.reading):
            async with sessions() as session:
                counts[name, await session.scalar(everybody)] += 1

    await asyncio.gather(*(look(*who) for who in [("service", service), ("request", requests)] * 10))
    assert counts == {("service", 3): 30, ("request", 0): 30}
    await service.close()


async def test_what_stands_alone_is_kept_where_we_refuse_and_undone_where_we_fail(
    requests: Database, owner: asyncpg.Connection, world: World
):
    await world.clinic()

    async def rename(name: str, error: Exception | None = None) -> None:
        async with requests.reading() as session:
            await session.execute(text("SELECT set_config('app.role', 'service', true)"))
            await session.execute(text("UPDATE clinics SET name = :name"), {"name": name})
            if error:
                raise error

    await rename("done")
    assert await owner.fetchval("SELECT name FROM clinics") == "done"
    with pytest.raises(AuthenticationException):
        await rename("refused", AuthenticationException())
    assert await owner.fetchval("SELECT name FROM clinics") == "refused"
    with pytest.raises(ZeroDivisionError):
        await rename("failed", ZeroDivisionError())
    assert await owner.fetchval("SELECT name FROM clinics") == "refused"


async def test_a_storm_of_bookings(pooled: str, world: World, owner: asyncpg.Connection):
    doctor, patients = await world.doctor(), [await world.patient() for _ in range(20)]
    slot = await world.slot(doctor, capacity=5)
    async with application(pooled, database_pooler=True, database_pool_size=6) as api:

        async def book(index: int) -> int:
            body = booking(patients[index], doctor, slot)
            headers = {**patients[index].headers, "Idempotency-Key": f"key {index}"}
            return (await api.post("/appointments/book", json=body, headers=headers)).status_code

        codes = Counter(await asyncio.gather(*(book(index) for index in range(20))))
        assert codes == {201: 5, 409: 15}
        listed = await api.get(f"/slots?doctor_id={doctor.doctor_id}")
        assert listed.json() == []
        mine = await api.get(f"/patients/{patients[0].patient_id}", headers=patients[0].headers)
        others = await api.get(f"/patients/{patients[0].patient_id}", headers=patients[1].headers)
        wrong = await api.post("/auth/login", json={"email": "nobody@example.org", "password": "nothing at all"})
        assert (mine.status_code, others.status_code, wrong.status_code) == (200, 403, 401)
        assert (await api.get("http://test/readyz")).json()["messages"] is not None
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 23
    assert await owner.fetchval("SELECT booked_count FROM appointment_slots") == 5


DROPPED = ",".join(settings_of(role="health_app", is_service=True))


@pytest.mark.parametrize(
    ("mode", "ignored"), [("transaction", ""), ("transaction", DROPPED), ("session", ""), ("session", DROPPED)]
)
async def test_a_pooler_that_drops_settings_is_noticed(database: TestDatabase, mode: str, ignored: str):
    with bouncer.bouncer(database.app_url, mode=mode, ignored=ignored) as (url,):
        for role in (None, "health_app"):
            assert "lock_timeout" in await lost_settings(url, role=role, has_pooler=False)
            assert await lost_settings(url, role=role, has_pooler=True) == []
    for has_pooler in (False, True):
        assert await lost_settings(database.app_url, role="health_app", has_pooler=has_pooler) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, r"^DATABASE_URL leads through a pooler, which drops what connections ask for \(.*lock_timeout.*\)\. Set "),
        ({"database_pooler": True}, r"^With HEALTH_DATABASE_POOLER=true, HEALTH_MIGRATION_DATABASE_URL must be set"),
        ({"database_pooler": True, "migration_database_url": "pooled"}, "^HEALTH_MIGRATION_DATABASE_URL leads through"),
        ({"database_pooler": True, "migration_database_url": "direct"}, None),
        ({"database_url": "direct", "read_database_url": "pooled"}, "^HEALTH_READ_DATABASE_URL leads through"),
    ],
)
async def test_a_start_that_would_lose_them_is_refused(
    database: TestDatabase, changes: dict[str, object], sentence: str | None, tmp_path: Path
):
    with bouncer.bouncer(database.app_url, database.owner_url, ignored=DROPPED) as (app, owner):
        urls = {
            "database_url": {"direct": database.app_url, "pooled": app},
            "read_database_url": {"pooled": app},
            "migration_database_url": {"direct": database.owner_url, "pooled": owner},
        }
        given = {"database_url": "pooled", **changes}
        found = {name: SecretStr(urls[name][str(way)]) if name in urls else way for name, way in given.items()}
        settings = test_settings(database.app_url).model_copy(update={**found, "data_dir": tmp_path})
        with installation(settings, lambda _: None) as place:
            if sentence is None:
                assert await place.prepare(lambda _: None) is None
                return
            with pytest.raises(OperatorError, match=sentence):
                await place.prepare(lambda _: None)


async def test_a_replica_that_is_away_stops_no_start(database: TestDatabase, tmp_path: Path):
    changes = {
        "migration_database_url": SecretStr(database.owner_url),
        "read_database_url": SecretStr("postgresql://a:b@127.0.0.1:1/none"),
        "data_dir": tmp_path,
    }
    said: list[str] = []
    with installation(test_settings(database.app_url).model_copy(update=changes), said.append) as place:
        assert await place.prepare(said.append) is None
    assert said == ["Warning: nobody answers at HEALTH_READ_DATABASE_URL; meanwhile the main database is read."]
