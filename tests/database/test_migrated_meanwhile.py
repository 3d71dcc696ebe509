"""A schema that changes while the application serves: statements that it has prepared are not valid any more."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import asyncpg
import pytest

from health_services.access import route
from tests.database.test_constraints import UNAVAILABLE, application, code
from tests.factories import World, booking
from tests.servers import TestDatabase

Migration = Callable[[], Awaitable[object]]


@pytest.fixture
async def migrate(owner: asyncpg.Connection) -> AsyncIterator[Migration]:
    """Changes tables as a migration does; afterwards they are as before."""

    async def change(name: str) -> None:
        await owner.execute(f"ALTER TABLE clinics ALTER COLUMN state TYPE {name}")

    yield partial(change, "text")
    await change("varchar")


async def test_reading_is_503_once(world: World, database: TestDatabase, migrate: Migration):
    clinic = await world.clinic()
    async with application(database.app_url, database_pool_size=1) as api:
        assert (await api.get(f"/clinics/{clinic}")).status_code == 200
        await migrate()
        answer = await api.get(f"/clinics/{clinic}")
        assert code(answer) == UNAVAILABLE
        assert answer.headers["retry-after"]
        assert (await api.get(f"/clinics/{clinic}")).status_code == 200


async def test_writing_is_done_all_the_same(world: World, database: TestDatabase, migrate: Migration):
    clinic, admin = await world.clinic(), await world.admin()
    async with application(database.app_url, database_pool_size=1) as api:
        change = partial(api.put, f"/clinics/{clinic}", headers=admin.headers)
        assert (await change(json={"name": "Before"})).status_code == 200
        await migrate()
        answer = await change(json={"name": "After"})
        assert (answer.status_code, answer.json()["name"]) == (200, "After")
    assert await world.owner.fetchval("SELECT name FROM clinics") == "After"


async def test_a_booking_does_not_notice_a_new_column(
    world: World, database: TestDatabase, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """What it answers are columns by their names, so that one more ends no booking, not even for a moment."""
    monkeypatch.setattr(route, "ATTEMPTS", 1)
    doctor = await world.doctor()
    async with application(database.app_url, database_pool_size=1) as api:

        async def book() -> int:
            patient = await world.patient()
            body = booking(patient, doctor, await world.slot(doctor))
            return (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code

        assert await book() == 201
        await owner.execute("ALTER TABLE appointments ADD COLUMN later integer")
        try:
            assert await book() == 201
        finally:
            await owner.execute("ALTER TABLE appointments DROP COLUMN later")
