"""Two servers with two workers each on one database: callers meet in PostgreSQL, nowhere else."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from health_services.access.tokens import Tokens
from health_services.database import embedded
from tests.factories import World
from tests.races.guards import broken
from tests.races.servers import SECRET, Server, all_workers_up
from tests.servers import TestDatabase, create_database

WORKERS = 2


@pytest.fixture(scope="session")
async def database(cluster: embedded.Cluster) -> TestDatabase:
    """A database for races alone."""
    return await create_database(cluster, f"races_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


@pytest.fixture(scope="session")
async def watcher(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees what the others wait for."""
    connection = await asyncpg.connect(database.admin_url)
    yield connection
    await connection.close()


def environment(database: TestDatabase) -> dict[str, str]:
    return {"DATABASE_URL": database.app_url, "HEALTH_MIGRATION_DATABASE_URL": database.owner_url}


async def _served(database: TestDatabase, module: str, servers: int) -> AsyncIterator[list[int]]:
    async with AsyncExitStack() as stack:
        started = [Server(environment(database), workers=WORKERS, module=module) for _ in range(servers)]
        for server in started:
            stack.callback(server.stop)
        for server in started:
            await server.ready()
        yield [server.port for server in started]


@pytest.fixture(scope="session")
async def ports(database: TestDatabase, watcher: asyncpg.Connection) -> AsyncIterator[list[int]]:
    """Where the servers listen."""
    async for found in _served(database, "health_services.cli", 2):
        await all_workers_up(watcher, WORKERS * len(found))
        yield found


@pytest.fixture(scope="session")
async def unlocked(database: TestDatabase, ports: list[int]) -> AsyncIterator[list[int]]:
    """Where a server without row locks listens, on the same database."""
    async for found in _served(database, "tests.races.unlocked", 1):
        yield found


@pytest.fixture
async def owner(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The owner's connection to an empty database; afterwards everything that races could break must hold."""
    yield owner
    assert await broken(owner) == set()


@pytest.fixture
def world(owner: asyncpg.Connection) -> World:
    """Makes people, places and slots, with tokens that the servers accept."""
    return World(owner, Tokens((SECRET.encode(),), timedelta(hours=1)))
