"""A running application with a database of its own, for tests that are not asynchronous themselves."""

import os
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import httpx
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI

from health_services.api.middleware import configure_logging
from health_services.database import embedded
from health_services.main import create_app
from tests.conftest import test_settings
from tests.servers import create_database

T = TypeVar("T")

UTC_DAY = """CREATE OR REPLACE FUNCTION appointment_slots_set_local_date() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.local_date := (NEW.slot_datetime AT TIME ZONE 'UTC')::date; RETURN NEW; END $$"""
DAY_NOT_FREED = """CREATE OR REPLACE FUNCTION doctor_days_count(doctor bigint, day date, change integer) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO doctor_days AS d
        VALUES (doctor, day, 1, (SELECT max_patients_per_day FROM doctors WHERE id = doctor))
        ON CONFLICT (doctor_id, local_date) DO UPDATE SET booked_count = d.booked_count + greatest(change, 0);
END $$"""
# What a careless change could do to the guards.
MISTAKES = {
    "days in UTC": UTC_DAY,
    "days not freed": DAY_NOT_FREED,
    "live slots deleted": "DROP TRIGGER appointment_slots_keep_live ON appointment_slots",
    "limit not kept": "DROP TRIGGER doctors_limit_days ON doctors",
}


@dataclass
class Bench:
    """The running application, its database, and the loop in which both live."""

    portal: BlockingPortal
    app: FastAPI
    owner: asyncpg.Connection
    as_app: asyncpg.Connection
    client: httpx.AsyncClient

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def carry_out() -> T:
            return await work

        return self.portal.call(carry_out)


async def open_bench(cluster: embedded.Cluster, portal: BlockingPortal, name: str) -> Bench:
    database = await create_database(cluster, f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    app = create_app(test_settings(database.app_url))
    configure_logging("warning", as_text=False)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test/api/v1"
    )
    owner, as_app = await asyncpg.connect(database.owner_url), await asyncpg.connect(database.app_url)
    # the rules bind whoever sees everything, too
    await as_app.execute("SET app.role = 'service'")
    return Bench(portal, app, owner, as_app, client)


async def close_bench(bench: Bench) -> None:
    await bench.client.aclose()
    await bench.owner.close()
    await bench.as_app.close()
    await bench.app.state.database.close()
    bench.app.state.gate.passwords.close()
