"""An audit to be sealed, and the eye of its owner on it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from fastapi import FastAPI

from health_services.audit.sealer import Sealer
from health_services.database.engine import Database
from tests.audit.entries import Auditor
from tests.servers import TestDatabase


@pytest.fixture
def vault(app: FastAPI) -> object:
    """The vault of the application."""
    return app.state.vault


@pytest.fixture
def written(app: FastAPI, owner: asyncpg.Connection) -> Database:
    """Connections of the application, over which entries are written."""
    database: Database = app.state.worker_database
    return database


@pytest.fixture
def sealer(written: Database) -> Sealer:
    """A sealer that has just started."""
    return Sealer(written)


@pytest.fixture
async def auditor(database: TestDatabase, vault: object, owner: asyncpg.Connection) -> AsyncIterator[Auditor]:
    """Whoever runs `audit verify`."""
    seen = Database.connect(
        database.owner_url,
        role=None,
        pool_size=2,
        pool_timeout=60,
        timeouts={},
        vault=vault,  # type: ignore[arg-type]
    )
    yield Auditor(seen)
    await seen.close()
