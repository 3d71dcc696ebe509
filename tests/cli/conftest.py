import itertools
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.database.embedded import Cluster, running
from tests.cli.commands import PASSWORD, Command, run, serving
from tests.database.conftest import make_open_directory
from tests.database.servers import sql
from tests.servers import TestDatabase, create_database

ADMIN = "admin@example.org"
_numbers = itertools.count(1)
Databases = Callable[..., Coroutine[Any, Any, TestDatabase]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory through which the database's user may pass, unlike pytest's."""
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A data directory with a migrated database and an administrator, for all these tests."""
    made = make_open_directory()
    done = run("create-admin", HEALTH_DATA_DIR=made, HEALTH_ADMIN_EMAIL=ADMIN, HEALTH_ADMIN_PASSWORD=PASSWORD)
    assert done.code == 0, done.err
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def served(data_dir: Path) -> Iterator[tuple[Command, httpx.Client]]:
    """A server on that data directory, and a client of it."""
    with serving(HEALTH_DATA_DIR=data_dir) as found:
        yield found


@pytest.fixture
async def databases(cluster: Cluster) -> AsyncIterator[Databases]:
    """Makes databases, empty and without a schema unless the test says otherwise; they are dropped afterwards."""
    names: list[str] = []

    async def make(*, migrate: bool = False) -> TestDatabase:
        names.append(f"cli_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{next(_numbers)}")
        return await create_database(cluster, names[-1], migrate=migrate)

    yield make
    admin = await asyncpg.connect(cluster.admin_url)
    for name in names:
        await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


@pytest.fixture(scope="module")
def external() -> Iterator[Cluster]:
    """A server as somebody else would have set it up: a superuser, and nothing of ours."""
    made = make_open_directory()
    with running(made / "data", say=lambda _: None) as cluster:
        sql(cluster.admin_url, "DROP DATABASE health", cluster.bin_dir)
        sql(cluster.admin_url, "DROP ROLE health_owner; DROP ROLE health_app", cluster.bin_dir)
        yield cluster
    shutil.rmtree(made)


@pytest.fixture
def foreign(external: Cluster) -> Iterator[Cluster]:
    """That server; what a test makes on it is removed."""
    yield external
    made = sql(external.admin_url, "SELECT datname FROM pg_database WHERE NOT datistemplate", external.bin_dir)
    for name in set(made.splitlines()) - {"postgres"}:
        sql(external.admin_url, f'DROP DATABASE "{name}" WITH (FORCE)', external.bin_dir)
    roles = sql(
        external.admin_url, "SELECT rolname FROM pg_roles WHERE rolname !~ '^(pg_|postgres$)'", external.bin_dir
    )
    for name in roles.splitlines():
        sql(external.admin_url, f'DROP OWNED BY "{name}"; DROP ROLE "{name}"', external.bin_dir)
