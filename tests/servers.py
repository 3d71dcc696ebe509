"""Databases for tests: one embedded server for all test processes, one migrated database for each."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from health_services.database import embedded, migrations, roles

# For clients that ask many times over plain HTTP: to make one takes longer than a request.
NO_TLS = ssl.create_default_context()


@dataclass(frozen=True)
class TestDatabase:
    """A migrated database: the application's URL, the owner's, and the server's superuser's for it."""

    __test__ = False

    app_url: str
    owner_url: str
    admin_url: str
    bin_dir: Path


def named(url: str, name: str) -> str:
    """The same URL with another database."""
    head, _, options = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{options}"


async def create_database(cluster: embedded.Cluster, name: str, *, migrate: bool = True) -> TestDatabase:
    """A new database beside the others; an old one of that name is dropped."""
    connection = await asyncpg.connect(cluster.admin_url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f'CREATE DATABASE "{name}" OWNER health_owner')
        await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO health_app')
    finally:
        await connection.close()
    database = TestDatabase(
        app_url=named(cluster.app_url, name),
        owner_url=named(cluster.owner_url, name),
        admin_url=named(cluster.admin_url, name),
        bin_dir=cluster.bin_dir,
    )
    if migrate:
        await roles.prepare(database.owner_url, database.app_url)
        await migrations.migrate(database.owner_url)
    return database


@contextmanager
def shared_cluster(directory: Path) -> Iterator[embedded.Cluster]:
    """The embedded server that all test processes use together; it ends with the last of them."""
    with embedded.running(directory, say=lambda _: None) as cluster:
        yield cluster
