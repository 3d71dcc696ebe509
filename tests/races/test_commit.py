"""The answer goes out after the commit: one that fails is never a success."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.factories import Person, World
from tests.races.callers import Call, all_at_once, tally
from tests.races.test_bookings import BOOKED, CONFLICT, book, cancel

CALLERS = 20


@asynccontextmanager
async def failing_commit(owner: asyncpg.Connection, code: str) -> AsyncIterator[None]:
    """Every transaction that writes an appointment fails when it commits, and not before."""
    await owner.execute(
        f"""CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$;
            CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON appointments
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"""
    )
    try:
        yield
    finally:
        await owner.execute("DROP FUNCTION fail CASCADE")


async def keyed_bookings(world: World, doctor: Person, slot: int) -> list[Call]:
    patients = await world.patients(CALLERS)
    return [book(patient, doctor, slot, **{"Idempotency-Key": "mine"}) for patient in patients]


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("XX000", (500, "INTERNAL_ERROR")),
        ("53100", (503, "UNAVAILABLE")),  # the disk is full
        ("40001", CONFLICT),  # two met, and again at each further attempt
    ],
)
async def test_a_booking_whose_commit_fails_is_none(
    ports: list[int], owner: asyncpg.Connection, world: World, code: str, refusal: tuple[int, str]
):
    doctor = await world.doctor()
    slot = await world.slot(doctor, capacity=CALLERS)
    calls = await keyed_bookings(world, doctor, slot)
    async with failing_commit(owner, code):
        assert tally(await all_at_once(ports, calls)) == {refusal: CALLERS}
        for table in ("appointments", "doctor_days", "idempotency_keys"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await owner.fetchval("SELECT booked_count FROM appointment_slots") == 0
    # The key was given back with everything else.
    assert tally(await all_at_once(ports, calls)) == {BOOKED: CALLERS}


async def test_a_cancelling_whose_commit_fails_is_none(ports: list[int], owner: asyncpg.Connection, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    appointment = await world.appointment(patient, doctor)
    async with failing_commit(owner, "XX000"):
        answers = await all_at_once(ports, [cancel(patient, appointment)] * CALLERS)
        assert tally(answers) == {(500, "INTERNAL_ERROR"): CALLERS}
        assert await owner.fetchval("SELECT status FROM appointments") == "pending"
    assert tally(await all_at_once(ports, [cancel(patient, appointment)])) == {(200, None): 1}
