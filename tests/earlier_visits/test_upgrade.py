"""An installation of the version before, with visits to come, is brought to this one."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from health_services.access.tokens import Tokens
from health_services.database import embedded, migrations, roles
from health_services.database.engine import Database
from health_services.earlier_visits.service import LOOK_AGAIN_SECONDS, EarlierVisits
from health_services.worker import Lane, Worker
from tests.factories import Person, World, soon
from tests.notifications.ledger import REMINDER
from tests.servers import TestDatabase, create_database

BEFORE = "0002"
DAY = timedelta(days=1)
REMINDERS = "SELECT * FROM notifications ORDER BY appointment_id, due_at"


@dataclass
class Older:
    """A database of the version before, and a world in it."""

    database: TestDatabase
    owner: asyncpg.Connection
    world: World
    store: Database

    async def visit(self, patient: Person, start: datetime, **values: object) -> int:
        """An appointment's id, booked as the version before does it."""
        doctor = await self.world.doctor()
        return await self.world.appointment(patient, doctor, await self.world.slot(doctor, start), **values)

    async def work(self) -> int:
        """Plan all that a worker of this version finds at its start; for how many patients."""
        source = EarlierVisits(self.store)
        done = 0
        while jobs := await source.take(2):
            for job in jobs:
                await source.carry_out(job)
            done += len(jobs)
        return done

    async def reminders(self) -> list[tuple[int, int, datetime]]:
        """Appointment, lead time and instant of each that waits; there is nothing else."""
        rows = await self.owner.fetch(REMINDERS)
        assert all((row["kind"], row["state"], row["attempts"]) == (REMINDER, "queued", 0) for row in rows)
        return [(row["appointment_id"], row["lead_minutes"], row["due_at"]) for row in rows]


@pytest.fixture
async def older(cluster: embedded.Cluster) -> AsyncIterator[Older]:
    name = f"older_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    database = await create_database(cluster, name, migrate=False)
    await roles.prepare(database.owner_url, database.app_url)
    await migrations.migrate(database.owner_url, BEFORE)
    owner = await asyncpg.connect(database.owner_url)
    store = Database.connect(database.app_url, role=None, pool_size=2, pool_timeout=60, timeouts={}, is_service=True)
    world = World(owner, Tokens((b"a secret of tests, and long enough",), DAY), has_sessions=False)
    yield Older(database, owner, world, store)
    await store.close()
    await owner.close()
    admin = await asyncpg.connect(cluster.admin_url)
    await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await admin.close()


async def test_patients_are_reminded_of_what_they_booked_before(older: Older):
    patient, other = await older.world.patient(), await older.world.patient()
    start = soon()
    first, second = await older.visit(patient, start + DAY), await older.visit(patient, start + 2 * DAY)
    third = await older.visit(other, start + 3 * DAY, status="confirmed")
    await migrations.migrate(older.database.owner_url)

    assert await older.work() == 2
    planned = await older.reminders()
    visits = ((first, start + DAY), (second, start + 2 * DAY), (third, start + 3 * DAY))
    assert planned == [(visit, lead, at - lead * DAY / 1440) for visit, at in visits for lead in (1440, 120)]

    rows = await older.owner.fetch(REMINDERS)
    assert {row["dedupe_key"] for row in rows} >= {f"{REMINDER}/{other.user_id}/email/appointment:{third}/0/120"}
    assert await older.work() == 0
    assert await older.owner.fetch(REMINDERS) == rows


async def test_workers_that_begin_at_the_same_time_plan_each_once(older: Older):
    patient = await older.world.patient()
    visit = await older.visit(patient, soon() + DAY)
    await migrations.migrate(older.database.owner_url)
    one, two = EarlierVisits(older.store), EarlierVisits(older.store)
    found = [await worker.take(5) for worker in (one, two)]
    assert found == [[patient.user_id]] * 2
    await asyncio.gather(*(worker.carry_out(patient.user_id) for worker in (one, two)))
    assert [reminder[:2] for reminder in await older.reminders()] == [(visit, 1440), (visit, 120)]


async def test_nothing_is_planned_for_what_is_over_or_cancelled(older: Older):
    patient, now = await older.world.patient(), datetime.now(UTC)
    soonest = await older.visit(patient, now + timedelta(hours=5))
    await older.visit(patient, now + timedelta(minutes=90))
    await older.visit(patient, now - DAY)
    await older.visit(patient, soon() + 2 * DAY, status="cancelled")
    await migrations.migrate(older.database.owner_url)
    await older.work()
    # a day before has passed, two hours before has not
    assert [reminder[:2] for reminder in await older.reminders()] == [(soonest, 120)]


async def test_what_a_process_of_the_version_before_books_afterwards_is_found_later(older: Older):
    """Schema first, then one process after the other: until then, some book as before."""
    await older.visit(await older.world.patient(), soon() + DAY)
    await migrations.migrate(older.database.owner_url)
    hour = 0.0
    source = EarlierVisits(older.store, clock=lambda: hour)
    for job in await source.take(5):
        await source.carry_out(job)
    late = await older.world.patient()
    await older.visit(late, soon() + DAY)
    assert await source.take(5) == []
    hour += LOOK_AGAIN_SECONDS
    assert await source.take(5) == [late.user_id]


async def test_where_there_was_nothing_before_nobody_is_reminded_unasked(older: Older):
    """What is not booked but put into the database, as the demonstration is, stays without messages."""
    await migrations.migrate(older.database.owner_url)
    await older.visit(await older.world.patient(), soon() + DAY)
    assert await older.work() == 0
    assert await older.reminders() == []


async def test_a_patient_whose_wishes_cannot_be_read_stops_nobody(older: Older):
    broken, sound = await older.world.patient(), await older.world.patient()
    for patient in (broken, sound):
        await older.visit(patient, soon() + DAY)
    await migrations.migrate(older.database.owner_url)
    await older.owner.execute(
        "INSERT INTO notification_preferences (user_id, channels) VALUES ($1, '[7]')", broken.user_id
    )
    lane = Lane("earlier visits", EarlierVisits(older.store), 1)
    worker = Worker([lane], poll_seconds=0.01)
    running = asyncio.create_task(worker.run())
    while not await older.reminders():
        await asyncio.sleep(0.01)
    worker.stop()
    await running
    rows = await older.owner.fetch(REMINDERS)
    assert {row["user_id"] for row in rows} == {sound.user_id}
