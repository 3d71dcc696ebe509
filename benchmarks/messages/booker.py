"""Bookings through the service's own function, for `bookings.py`; it runs on whatever version PYTHONPATH names.

    python booker.py migrate <OWNER URL> <APP URL>
    python booker.py book <APP URL> <CLIENTS> <SECONDS> <FIRST SLOT>

What it prints is JSON: seconds that each booking took, of the run, and of the processor.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from health_services.access.recording import record
from health_services.access.service import act_as
from health_services.access.trail import Trail
from health_services.appointments import service
from health_services.appointments.schemas import AppointmentCreate
from health_services.database import migrations, roles
from health_services.database.engine import Database
from health_services.database.sealing import KEY_BYTES, KeyRing, Vault

POOL = 16
# What is prepared and looked up once is done by then.
WARM_UP = 10


async def migrate(owner_url: str, app_url: str) -> None:
    """Bring the database to this version's head."""
    await roles.prepare(owner_url, app_url)
    await migrations.migrate(owner_url)


async def book(url: str, clients: int, seconds: float, first: int) -> None:
    """Let every client book one slot after the other; slot n is booked by patient n."""
    timeouts = {"statement_timeout_ms": 30_000}
    vault = Vault(lambda: KeyRing({"benchmarks": bytes(KEY_BYTES)}))
    database = Database.connect(url, role=None, pool_size=POOL, pool_timeout=30, timeouts=timeouts, vault=vault)
    slots = iter(range(first, sys.maxsize))
    await asyncio.gather(*(_client(database, slots, [], WARM_UP, float("inf")) for _ in range(clients)))
    taken: list[float] = []
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(_client(database, slots, taken, sys.maxsize, began + seconds) for _ in range(clients)))
    run = {"took": taken, "seconds": time.perf_counter() - began, "processor": time.process_time() - used}
    await database.close()
    sys.stdout.write(json.dumps(run))


async def _client(database: Database, slots: Iterator[int], taken: list[float], most: int, until: float) -> None:
    for _ in range(most):
        began = time.perf_counter()
        if began > until:
            return
        await _book(database, next(slots))
        taken.append(time.perf_counter() - began)


async def _book(database: Database, slot: int) -> None:
    """As a request does it: one transaction, which says first for whom it acts, and ends with the audit."""
    request = AppointmentCreate(patient_id=slot, doctor_id=slot, clinic_id=1, slot_id=slot)
    trail = Trail(action="book_appointment", request_id="benchmark")
    async with database.writing() as session, session.begin():
        caller = await act_as(session, slot, None, trail)
        await service.book(session, caller, request, datetime.now(UTC))
        await record(session, trail, 201)


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        asyncio.run(migrate(*sys.argv[2:]))
    else:
        asyncio.run(book(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
