"""A region with many rows, and whoever asks for them."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from health_services.database import embedded
from health_services.main import create_app
from tests.conftest import test_settings
from tests.crowd import make_crowd
from tests.factories import Person, World
from tests.plans.explaining import Region
from tests.servers import TestDatabase


@pytest.fixture(scope="module")
async def crowd(cluster: embedded.Cluster) -> TestDatabase:
    return await make_crowd(cluster, f"crowd_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


@pytest.fixture(scope="module")
async def region(crowd: TestDatabase) -> AsyncIterator[Region]:
    app = create_app(test_settings(crowd.app_url))
    owner = await asyncpg.connect(crowd.owner_url)
    world = World(owner, app.state.tokens)
    doctor = await owner.fetchrow("SELECT * FROM doctors WHERE id = 2")
    patient = await owner.fetchrow("SELECT * FROM patients WHERE id = 101")
    slot = await owner.fetchrow("SELECT * FROM appointment_slots WHERE NOT is_booked AND slot_datetime > now() LIMIT 1")
    taken = await owner.fetchrow(
        "SELECT * FROM appointment_slots s WHERE is_booked AND slot_datetime > now() AND NOT EXISTS ("
        "SELECT FROM appointments WHERE slot_id = s.id AND patient_id = 101) LIMIT 1"
    )
    people = {
        "anybody": Person(0, "", {}),
        "admin": await world.admin(),
        "staff": await world.staff(doctor["clinic_id"]),
        "doctor": Person(0, "", await world.sign_in(doctor["user_id"], "doctor")),
        "patient": Person(0, "", await world.sign_in(patient["user_id"])),
    }
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    values = {
        "doctor": 2, "clinic": doctor["clinic_id"], "patient": 101,
        "visit": await owner.fetchval("SELECT max(id) FROM appointments WHERE doctor_id = 2"),
        "booking": {"patient_id": 101, "slot_id": slot["id"], "doctor_id": slot["doctor_id"],
                    "clinic_id": slot["clinic_id"]},
        "taken": {"patient_id": 101, "slot_id": taken["id"], "doctor_id": taken["doctor_id"],
                  "clinic_id": taken["clinic_id"]},
        "soon": f"{hour + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}",
        "later": f"{hour + timedelta(hours=2, minutes=4):%Y-%m-%dT%H:%M:%SZ}",
        "day": f"{hour - timedelta(hours=30):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    async with app.router.lifespan_context(app):
        yield Region(app, owner, people, values)
    await owner.close()


@pytest.fixture
async def api(region: Region) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(region.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client
