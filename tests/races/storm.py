"""Clients that book without pause and remember what they were told, for the account that follows a crash."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx

from tests.factories import Person, World, booking
from tests.servers import NO_TLS

CLIENTS = 24
PATIENTS = 60
SLOTS = 40


@dataclass(frozen=True, eq=False)
class Order:
    """One booking, with its key; whoever sends it again sends the same."""

    patient: Person
    slot: int
    body: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return self.patient.headers | {"Idempotency-Key": f"slot-{self.slot}"}


@dataclass
class Storm:
    """Orders that can all succeed, in a seeded order; `told` are the 201s, `unsure` all others that were sent.

    `moment` is the seeded number of acknowledged bookings after which something shall happen.
    """

    orders: Iterator[Order]
    moment: int
    told: dict[Order, dict[str, Any]] = field(default_factory=dict)
    unsure: list[Order] = field(default_factory=list)
    statuses: Counter[int | str] = field(default_factory=Counter)
    is_over: bool = False

    @classmethod
    async def brewed(cls, world: World, seed: int) -> "Storm":
        """One doctor with forty large slots in two months, and sixty patients for each of them."""
        doctor = await world.doctor(max_patients_per_day=1000)
        slots = [await world.slot(doctor, capacity=PATIENTS) for _ in range(SLOTS)]
        patients = await world.patients(PATIENTS)
        orders = [Order(p, slot, booking(p, doctor, slot)) for p in patients for slot in slots]
        dice = random.Random(seed)
        dice.shuffle(orders)
        return cls(iter(orders), dice.randrange(50, 150))

    async def rage(self, port: int) -> None:
        """Book until it is over; a client whose connection breaks takes the next order on a new one."""
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", limits=limits, verify=NO_TLS, timeout=60
        ) as client:
            await asyncio.gather(*(self._book_on(client) for _ in range(CLIENTS)))

    async def _book_on(self, client: httpx.AsyncClient) -> None:
        while not self.is_over:
            order = next(self.orders)
            if await self.send(client, order) != 201:
                self.unsure.append(order)
                await asyncio.sleep(0.05)

    async def send(self, client: httpx.AsyncClient, order: Order) -> int | None:
        """The status; None where the connection broke."""
        try:
            answer = await client.post("/appointments/book", json=order.body, headers=order.headers)
        except httpx.TransportError as error:
            self.statuses[type(error).__name__] += 1
            return None
        self.statuses[answer.status_code] += 1
        if answer.status_code == 201:
            told = self.told.setdefault(order, answer.json())
            assert told == answer.json()
        return answer.status_code

    async def told_of(self, count: int) -> None:
        """Return once so many bookings were acknowledged."""
        async with asyncio.timeout(60):
            while len(self.told) < count:
                await asyncio.sleep(0.001)

    async def settle(self, port: int) -> None:
        """Send everything again: what was acknowledged answers as before, and what was not is booked now."""
        orders = iter([*self.told, *self.unsure])

        async def settle_on() -> set[int | None]:
            return {await self._sent_until_known(client, order) for order in orders}

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", verify=NO_TLS, timeout=60) as client:
            answers = await asyncio.gather(*(settle_on() for _ in range(CLIENTS)))
        assert set().union(*answers) == {201}

    async def _sent_until_known(self, client: httpx.AsyncClient, order: Order) -> int | None:
        async with asyncio.timeout(60):
            while (status := await self.send(client, order)) == 409 and order not in self.told:
                await asyncio.sleep(0.1)  # a killed server's transaction may still hold the key for a moment
        return status


async def lost(owner: asyncpg.Connection, storm: Storm) -> int:
    """How many bookings were acknowledged and are not there."""
    rows = await owner.fetch("SELECT id, patient_id, slot_id FROM appointments WHERE status = 'pending'")
    there = {tuple(row) for row in rows}
    return sum((told["id"], order.patient.patient_id, order.slot) not in there for order, told in storm.told.items())


async def count_twice(owner: asyncpg.Connection) -> int:
    """How many places were given to somebody who has one in the same slot."""
    query = "SELECT count(*) - count(DISTINCT (slot_id, patient_id)) FROM appointments"
    return int(await owner.fetchval(query))


async def ended(task: asyncio.Task[None], storm: Storm) -> None:
    """Let the storm end; its clients finish what they have begun."""
    storm.is_over = True
    with suppress(asyncio.CancelledError):
        await task
