"""Many clients on few places: what is let in, what is refused and why, and how fast."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
from region import DOCTORS, PATIENTS, SLOTS_A_DAY, Place
from variants import CANCEL, Variant, numbered

DEADLOCK = "40P01"
EXPECTED = ("taken", "no place", "cancelled", "nothing to cancel", "23505", "23514")


@dataclass(frozen=True)
class Scenario:
    """`places` of `capacity` each, under doctors with `limit` a day; each client tries `attempts` times."""

    title: str
    places: Sequence[Place]
    capacity: int
    limit: int
    attempts: int
    expected: int | None
    cancels: bool = False
    patients: int = PATIENTS


def scenarios(clients: int) -> tuple[Scenario, ...]:
    """Those that only book end with a number of places taken that is known beforehand."""
    enough = 1600 // clients + 1
    # Slots n and n + DOCTORS are the same doctor's, on the same day; n + 1 is another doctor's.
    one_day = [Place.of(2 + DOCTORS * n) for n in range(SLOTS_A_DAY)]
    five_doctors = [Place.of(11 + n) for n in range(5)]
    five_more = [Place.of(21 + n) for n in range(5)]
    five_of_a_day = [Place.of(31 + DOCTORS * n) for n in range(5)]
    return (
        Scenario("one slot of 900", [Place.of(1)], 900, 1000, enough, 900),
        Scenario("one doctor's day of 1000, 20 slots", one_day, 100, 1000, enough, 1000),
        Scenario("5 slots of 180", five_doctors, 180, 1000, enough, 900),
        Scenario("book and cancel, 5 slots of 8", five_more, 8, 1000, enough, None, cancels=True, patients=12),
        Scenario("book and cancel, a day of 20", five_of_a_day, 8, 20, enough, None, cancels=True, patients=12),
    )


@dataclass(frozen=True)
class Outcome:
    """Attempts per second, and how often each answer came: a word, or SQLSTATE and constraint or message."""

    rate: float
    answers: Counter[str]

    @property
    def faults(self) -> list[str]:
        """What is neither success nor a constraint's refusal; deadlocks among them."""
        return [f"{answer}: {n} times" for answer, n in self.answers.items() if not answer.startswith(EXPECTED)]


async def run(url: str, owner_url: str, variant: Variant, scenario: Scenario, clients: int) -> Outcome:
    """Let all clients go at once and wait for the last."""
    await _prepare(owner_url, scenario)
    connections = [await asyncpg.connect(url) for _ in range(clients)]
    answers: Counter[str] = Counter()
    try:
        begun = time.monotonic()
        await asyncio.gather(
            *(_client(c, variant, scenario, answers, random.Random(n)) for n, c in enumerate(connections))  # noqa: S311
        )
        seconds = time.monotonic() - begun
    finally:
        for connection in connections:
            await connection.close()
    return Outcome(sum(answers.values()) / seconds, answers)


async def taken(owner_url: str, scenario: Scenario) -> int:
    """How many places are held in the end."""
    owner = await asyncpg.connect(owner_url)
    try:
        slots = [place.slot for place in scenario.places]
        query = "SELECT sum(booked_count) FROM appointment_slots WHERE id = ANY ($1)"
        return int(await owner.fetchval(query, slots))
    finally:
        await owner.close()


async def _prepare(owner_url: str, scenario: Scenario) -> None:
    owner = await asyncpg.connect(owner_url)
    try:
        slots = [place.slot for place in scenario.places]
        doctors = [place.doctor for place in scenario.places]
        await owner.execute("UPDATE appointment_slots SET capacity = $2 WHERE id = ANY ($1)", slots, scenario.capacity)
        await owner.execute("UPDATE doctors SET max_patients_per_day = $2 WHERE id = ANY ($1)", doctors, scenario.limit)
    finally:
        await owner.close()


async def _client(
    connection: asyncpg.Connection, variant: Variant, scenario: Scenario, answers: Counter[str], chance: random.Random
) -> None:
    booking = [await connection.prepare(numbered(statement)) for statement in variant.booking]
    cancelling = await connection.prepare(CANCEL.replace(":slot", "$1::bigint").replace(":patient", "$2::bigint"))
    for _ in range(scenario.attempts):
        place, patient = chance.choice(scenario.places), chance.randint(1, scenario.patients)
        try:
            if scenario.cancels and chance.random() < 0.5:
                await cancelling.fetch(place.slot, patient)
                answers["cancelled" if cancelling.get_statusmsg() == "UPDATE 1" else "nothing to cancel"] += 1
            else:
                answers[await _book(connection, booking, place, patient)] += 1
        except asyncpg.PostgresError as error:
            refusal = error.constraint_name or ("" if error.sqlstate == DEADLOCK else str(error))
            answers[f"{error.sqlstate} {refusal}".strip()] += 1


async def _book(
    connection: asyncpg.Connection,
    booking: Sequence[asyncpg.prepared_stmt.PreparedStatement],
    place: Place,
    patient: int,
) -> str:
    *before, write = booking
    if not before:
        return await _write(write, place, patient)
    async with connection.transaction():
        for look in before:
            row = await look.fetchrow(place.slot, place.doctor, place.clinic)
            if row is None or not row["is_active"] or row["booked_count"] >= row["capacity"]:
                return "no place"
        return await _write(write, place, patient)


async def _write(write: asyncpg.prepared_stmt.PreparedStatement, place: Place, patient: int) -> str:
    rows = await write.fetch(place.slot, place.doctor, place.clinic, patient)
    return "taken" if rows or write.get_statusmsg() == "INSERT 0 1" else "no place"
