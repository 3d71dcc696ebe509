"""Races for a doctor's day: its limit holds over all slots, across local midnight, and while it is being lowered."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from tests.factories import Person, World, soon
from tests.races.callers import Answer, Call, Crowd, all_at_once, tally
from tests.races.guards import (
    GATE,
    broken,
    gate,
    in_the_gate,
    rewritten,
    through_the_gate,
    without_constraint,
    without_trigger,
)
from tests.races.test_bookings import BOOKED, CALLERS, CONFLICT, FULL, book

NEW_YORK = ZoneInfo("America/New_York")
OVERFULL = "a doctor's day holds no more than his limit"
DAY_FULL = "The doctor sees no more patients on that day."
# The day's counter as it is usually written: read, think, write.
COUNT_DAY = "UPDATE doctor_days SET booked_count = booked_count + change WHERE"
COUNT_DAY_NAIVELY = (
    ("DECLARE", "DECLARE seen integer;"),
    (
        COUNT_DAY,
        f"""SELECT booked_count INTO seen FROM doctor_days WHERE doctor_id = doctor AND local_date = day;
           {GATE}
           UPDATE doctor_days SET booked_count = seen + change WHERE""",
    ),
)
READ_LIMIT = "WHERE id = doctor FOR SHARE;"
READ_LIMIT_SLOWLY = ((READ_LIMIT, f"{READ_LIMIT} {GATE}"),)
READ_LIMIT_NAIVELY = ((READ_LIMIT, f"WHERE id = doctor; {GATE}"),)


async def slots_from(world: World, doctor: Person, start: datetime, count: int, capacity: int = 1) -> list[int]:
    """So many slots of five minutes, one after the other."""
    rows = await world.owner.fetch(
        """INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes, capacity)
           SELECT $1, $2, $3::timestamptz + make_interval(mins => 5 * n), 5, $5 FROM generate_series(0, $4 - 1) AS n
           RETURNING id""",
        *(doctor.doctor_id, doctor.clinic_id, start, count, capacity),
    )
    return [row["id"] for row in rows]


def refused_for_the_day(answers: Sequence[Answer]) -> bool:
    return {answer.body["detail"] for answer in answers if answer.kind == FULL} == {DAY_FULL}


@pytest.mark.parametrize("guard", ["all guards", "no CHECK on the day", "naive counting"])
async def test_a_day_over_many_slots_takes_the_doctors_limit(
    ports: list[int], owner: asyncpg.Connection, watcher: asyncpg.Connection, world: World, guard: str
):
    limit = 20
    async with AsyncExitStack() as stack:
        if guard == "no CHECK on the day":
            await stack.enter_async_context(without_constraint(owner, "doctor_days", "ck_doctor_days_max_patients"))
        doctor = await world.doctor(max_patients_per_day=limit + 1)
        slots = await slots_from(world, doctor, soon().replace(hour=1) + timedelta(days=1), CALLERS + 1)
        first, *patients = await world.patients(CALLERS + 1)
        await world.appointment(first, doctor, slots[0])
        crowd = await Crowd.gathered(ports, [book(p, doctor, s) for p, s in zip(patients, slots[1:], strict=True)])
        if guard == "naive counting":
            await stack.enter_async_context(gate(owner, watcher))
            await stack.enter_async_context(rewritten(owner, "doctor_days_count", *COUNT_DAY_NAIVELY))
            answers = await through_the_gate(watcher, crowd, limit + 1)
        else:
            answers = await crowd.go()

        if guard != "all guards":
            assert OVERFULL in await broken(owner)
            assert tally(answers)[BOOKED] > limit
            return
        assert tally(answers) == {BOOKED: limit, FULL: CALLERS - limit}
        assert refused_for_the_day(answers)


def long_day_in_new_york() -> tuple[datetime, datetime]:
    """Both midnights of next year's day of 25 hours, the first Sunday in November."""
    first = datetime(datetime.now(UTC).year + 1, 11, 1, tzinfo=NEW_YORK)
    sunday = first + timedelta(days=6 - first.weekday())
    return sunday.astimezone(UTC), (sunday + timedelta(days=1)).astimezone(UTC)


@pytest.mark.parametrize("guard", ["all guards", "no CHECK on the day", "days of UTC"])
async def test_days_end_at_the_clinics_midnight(ports: list[int], owner: asyncpg.Connection, world: World, guard: str):
    """Slots of 50 minutes on either side of both midnights: three local days, and never that many in UTC."""
    limit, count = 5, 10
    begin, end = long_day_in_new_york()
    assert end - begin == timedelta(hours=25)
    async with AsyncExitStack() as stack:
        if guard == "no CHECK on the day":
            await stack.enter_async_context(without_constraint(owner, "doctor_days", "ck_doctor_days_max_patients"))
        if guard == "days of UTC":
            change = ("NEW.slot_datetime AT TIME ZONE time_zone", "NEW.slot_datetime AT TIME ZONE 'UTC'")
            await stack.enter_async_context(rewritten(owner, "appointment_slots_set_local_date", change))
        doctor = await world.doctor(await world.clinic("America/New_York"), max_patients_per_day=limit)
        before = [await slots_from(world, doctor, at - timedelta(minutes=50), count, 10) for at in (begin, end)]
        after = [await slots_from(world, doctor, at, count, 10) for at in (begin, end)]
        slots = [*before[0], *after[0], *before[1], *after[1]]
        patients = await world.patients(CALLERS)
        calls = [book(patient, doctor, slots[n % len(slots)]) for n, patient in enumerate(patients)]
        answers = await all_at_once(ports, calls)

        if guard == "no CHECK on the day":
            assert OVERFULL in await broken(owner)
            assert tally(answers) == {BOOKED: CALLERS}
            return
        if guard == "days of UTC":
            assert "a slot's day is the clinic's day" in await broken(owner)
            assert tally(answers) == {BOOKED: 2 * limit, FULL: CALLERS - 2 * limit}
            return
        assert tally(answers) == {BOOKED: 3 * limit, FULL: CALLERS - 3 * limit}
        assert refused_for_the_day(answers)
        days = await owner.fetch("SELECT local_date, booked_count FROM doctor_days ORDER BY 1")
        sunday = begin.astimezone(NEW_YORK).date()
        assert [tuple(day) for day in days] == [(sunday + timedelta(days=n), limit) for n in (-1, 0, 1)]


def lower(admin: Person, doctor: Person, limit: int) -> Call:
    return Call("PUT", f"/doctors/{doctor.doctor_id}", admin.headers, {"max_patients_per_day": limit})


@pytest.mark.parametrize("guard", ["all guards", "no trigger on the limit"])
async def test_lowering_the_limit_is_refused_or_binds_every_booking(
    ports: list[int], owner: asyncpg.Connection, world: World, guard: str
):
    """The day has begun to fill, so that its row carries the limit."""
    before, after, lowerings = 10, 3, 10
    async with AsyncExitStack() as stack:
        if guard != "all guards":
            await stack.enter_async_context(without_trigger(owner, "doctors", "doctors_limit_days"))
        admin, doctor = await world.admin(), await world.doctor(max_patients_per_day=before)
        slot = await world.slot(doctor, capacity=1000)
        await world.appointment(await world.patient(), doctor, slot)
        bookings = [book(patient, doctor, slot) for patient in await world.patients(CALLERS - lowerings)]
        answers = await all_at_once(ports, [lower(admin, doctor, after)] * lowerings + bookings)

        if guard != "all guards":
            assert OVERFULL in await broken(owner)
            return
        changed, booked = tally(answers[:lowerings]), tally(answers[lowerings:])
        # One that was lowered stays so, and one that could not be lowered never can: all are told the same.
        assert changed in ({(200, None): lowerings}, {CONFLICT: lowerings})
        limit = after if (200, None) in changed else before
        assert booked == {BOOKED: limit - 1, FULL: len(bookings) - limit + 1}


@pytest.mark.parametrize("guard", ["all guards", "limit read without a lock"])
async def test_lowering_the_limit_waits_for_the_first_booking_of_a_day(
    ports: list[int], owner: asyncpg.Connection, watcher: asyncpg.Connection, world: World, guard: str
):
    """The limit is lowered while the first booking has read it and has not yet written the day's row."""
    before, after, lowerings = 10, 3, 10
    changes = READ_LIMIT_SLOWLY if guard == "all guards" else READ_LIMIT_NAIVELY
    async with gate(owner, watcher), rewritten(owner, "doctor_days_count", *changes):
        admin, doctor = await world.admin(), await world.doctor(max_patients_per_day=before)
        slot = await world.slot(doctor, capacity=1000)
        patients = await world.patients(CALLERS - lowerings)
        bookers = await Crowd.gathered(ports[:1], [book(patient, doctor, slot) for patient in patients])
        lowerers = await Crowd.gathered(ports[1:], [lower(admin, doctor, after)] * lowerings)
        booked, changed = await in_the_gate(watcher, bookers, lowerers, is_held_up=guard == "all guards")

        if guard != "all guards":
            assert OVERFULL in await broken(owner)
            return
        assert len(changed) == 1
        limit = after if (200, None) in changed else before
        assert booked == {BOOKED: limit, FULL: len(patients) - limit}
        assert await broken(owner) == set()
