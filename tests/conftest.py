"""What tests share: one PostgreSQL for all of them, a migrated database for each process, the application on it."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.database import embedded
from health_services.database.engine import Database
from health_services.main import create_app
from health_services.settings import Settings
from tests.factories import World
from tests.invariants import INVARIANTS
from tests.servers import TestDatabase, create_database, shared_cluster

TABLES = (
    "audit_seals, audit_log, emergency_accesses, api_keys, passkeys, recovery_codes, totp_authenticators, "
    "one_time_tokens, refresh_tokens, sessions, webhook_deliveries, webhooks, calendar_feeds, notifications, "
    "push_subscriptions, notification_preferences, idempotency_keys, appointments, appointment_slots, "
    "doctor_days, doctors, patients, clinic_staff, clinics, users"
)
# Far cheaper than TRUNCATE, which makes a new file for each table and index.
EMPTY = "SET synchronous_commit = off;" + ";".join(f"DELETE FROM {table}" for table in TABLES.split(", "))
RESTART = """SELECT setval(pg_get_serial_sequence(table_name, 'id'), 1, false) FROM information_schema.columns
    WHERE table_schema = 'public' AND column_name = 'id' AND is_identity = 'YES'"""


# Test processes of one run find the common data directory here; pytest's own is closed to the database's user.
DIRECTORY_VARIABLE = "_TEST_CLUSTER_DIRECTORY"


def pytest_configure() -> None:
    """The first process of a run makes the directory."""
    if DIRECTORY_VARIABLE not in os.environ:
        os.environ[DIRECTORY_VARIABLE] = directory = tempfile.mkdtemp(prefix="health-services-tests-")
        Path(directory).chmod(0o755)


def pytest_unconfigure() -> None:
    """The first process of a run, which is the last to end, removes it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ.pop(DIRECTORY_VARIABLE))


@pytest.fixture(scope="session")
def cluster() -> Iterator[embedded.Cluster]:
    """The embedded server, shared by all test processes of one run."""
    with shared_cluster(Path(os.environ[DIRECTORY_VARIABLE])) as running:
        yield running


@pytest.fixture(scope="session")
async def database(cluster: embedded.Cluster) -> TestDatabase:
    """This test process's own database, migrated to head."""
    return await create_database(cluster, f"test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


def test_settings(url: str) -> Settings:
    """Settings with the cheapest password hashing that is allowed."""
    return Settings(
        DATABASE_URL=url,
        secret_key="a secret of tests, and long enough",
        encryption_keys={"test": "A" * 43},
        data_dir=Path(os.environ[DIRECTORY_VARIABLE]) / "data",
        password_memory_kib=19456,
        password_time_cost=2,
        log_level="warning",
        rate_limits="off",
        # tests change the database behind the service's back
        keep_seconds=0,
        # on a machine that is busy with other tests, patience is not what is tested
        database_pool_timeout=60,
        overload_wait_seconds=60,
        statement_timeout_ms=60_000,
        lock_timeout_ms=60_000,
    )


test_settings.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
async def app(database: TestDatabase) -> AsyncIterator[FastAPI]:
    """The application, started, on this process's database."""
    application = create_app(test_settings(database.app_url))
    application.state.worker_database = service = service_database(database, application)
    async with application.router.lifespan_context(application):
        yield application
    await service.close()


def service_database(database: TestDatabase, app: FastAPI) -> Database:
    """What a worker of the application would work on: connections that see everybody's rows."""
    vault = app.state.database.writing().info["vault"]
    return Database.connect(
        database.app_url, role=None, pool_size=8, pool_timeout=60, timeouts={}, vault=vault, is_service=True
    )


@pytest.fixture(scope="session")
async def owners() -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """Owners' connections by their URLs: opening one, and planning its statements, takes longer than most tests."""
    opened: dict[str, asyncpg.Connection] = {}
    yield opened
    for connection in opened.values():
        await connection.close()


@pytest.fixture
async def owner(database: TestDatabase, owners: dict[str, asyncpg.Connection]) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection to an empty database; afterwards every invariant of the booking must hold."""
    connection = owners.get(database.owner_url)
    if connection is None or connection.is_closed():
        connection = owners[database.owner_url] = await asyncpg.connect(database.owner_url)
    try:
        await connection.execute(EMPTY)
        await connection.execute(RESTART)
        yield connection
        for name, query in INVARIANTS.items():
            assert await connection.fetch(query) == [], f"broken: {name}"
    finally:
        await connection.reset()


@pytest.fixture
async def as_app(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the application's rights, as psql would have."""
    connection = await asyncpg.connect(database.app_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def as_worker(as_app: asyncpg.Connection) -> asyncpg.Connection:
    """The same where row-level security lets it see everybody's rows, as the worker's does."""
    await as_app.execute("SET app.role = 'service'")
    return as_app


@pytest.fixture
def world(owner: asyncpg.Connection, app: FastAPI) -> World:
    """Makes people, places and slots."""
    return World(owner, app.state.tokens)


@pytest.fixture
async def api(app: FastAPI, owner: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application on an empty database."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client
