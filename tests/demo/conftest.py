"""What the tests of the region share: it takes seconds to build."""

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from health_services.auth.passwords import Passwords
from health_services.database import embedded
from health_services.database.engine import Database
from health_services.database.sealing import KEY_BYTES, KeyRing, Vault
from health_services.demo.plan import Region, draw
from health_services.demo.region import build
from tests.demo.places import LEADS, NOW, Place, Places
from tests.servers import create_database


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(memory_kib=19456, time_cost=2, parallelism=1)


@pytest.fixture(scope="module")
async def places(cluster: embedded.Cluster) -> AsyncIterator[Places]:
    """Makes empty, migrated databases, connected to with no more than the application's rights."""
    opened: list[Place] = []

    async def make() -> Place:
        name = f"demo_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{len(opened)}"
        urls = await create_database(cluster, name)
        vault = Vault(lambda: KeyRing({"demo": bytes(KEY_BYTES)}))
        database = Database.connect(
            urls.app_url, role=None, pool_size=2, pool_timeout=5, timeouts={}, vault=vault, is_service=True
        )
        opened.append(Place(database, await asyncpg.connect(urls.owner_url), vault))
        return opened[-1]

    yield make
    for place in opened:
        await place.database.close()
        await place.owner.close()


@pytest.fixture(scope="module")
def heard() -> list[tuple[str, int, int]]:
    return []


@pytest.fixture(scope="module")
async def place(places: Places, passwords: Passwords, heard: list[tuple[str, int, int]]) -> Place:
    """A database with the region in it."""
    made = await places()
    await build(made.database, passwords, seed=1, now=NOW, progress=lambda *step: heard.append(step))
    return made


@pytest.fixture(scope="module")
def region() -> Region:
    return draw(1, NOW, LEADS)
