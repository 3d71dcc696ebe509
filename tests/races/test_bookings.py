"""Races for one slot: 200 callers at one instant, two servers; lost for certain once the one guard is gone."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from tests.factories import Person, World, booking
from tests.races.callers import Call, Crowd, all_at_once, tally
from tests.races.guards import GATE, broken, gate, rewritten, through_the_gate, without_constraint, without_index

CALLERS = 200
FULL, TWICE, CONFLICT = (409, "SLOT_UNAVAILABLE"), (409, "DUPLICATE_BOOKING"), (409, "CONFLICT")
BOOKED, CANCELLED = (201, None), (200, None)
BETWEEN_LOOK_AND_WRITE = "BEFORE INSERT ON appointments FOR EACH ROW"
BEFORE_CANCELLING = "BEFORE UPDATE ON appointments FOR EACH STATEMENT"

# A counter as it is usually written: read, think, write.
COUNT = "UPDATE appointment_slots SET booked_count = booked_count + change"
COUNT_NAIVELY = (
    ("DECLARE", "DECLARE seen integer;"),
    (
        COUNT,
        f"""SELECT booked_count INTO seen FROM appointment_slots WHERE id = place.slot_id;
           {GATE}
           UPDATE appointment_slots SET booked_count = seen + change""",
    ),
)
COUNT_SLOWLY = ((COUNT, f"{GATE} {COUNT}"),)


def book(patient: Person, doctor: Person, slot: int, **headers: str) -> Call:
    return Call("POST", "/appointments/book", patient.headers | headers, booking(patient, doctor, slot))


def cancel(caller: Person, appointment: int) -> Call:
    return Call("POST", f"/appointments/{appointment}/cancel", caller.headers, {"cancelled_reason": "ill"})


async def state(owner: asyncpg.Connection, slot: int) -> dict[str, Any]:
    query = "SELECT booked_count, is_booked FROM appointment_slots WHERE id = $1"
    return dict(await owner.fetchrow(query, slot))


@pytest.mark.parametrize("guard", ["all guards", "all guards, slow", "no CHECK on the counter"])
@pytest.mark.parametrize("capacity", [1, 7])
async def test_a_slot_gives_its_places_and_no_more(
    ports: list[int],
    owner: asyncpg.Connection,
    watcher: asyncpg.Connection,
    world: World,
    capacity: int,
    guard: str,
):
    async with AsyncExitStack() as stack:
        if guard == "no CHECK on the counter":
            await stack.enter_async_context(
                without_constraint(owner, "appointment_slots", "ck_appointment_slots_booked_count")
            )
        if guard != "all guards":
            await stack.enter_async_context(gate(owner, watcher, BETWEEN_LOOK_AND_WRITE))
        doctor = await world.doctor(max_patients_per_day=1000)
        slot = await world.slot(doctor, capacity=capacity)
        crowd = await Crowd.gathered(ports, [book(p, doctor, slot) for p in await world.patients(CALLERS)])
        # One more than there are places has seen one free.
        slowly = guard != "all guards"
        answers = await (through_the_gate(watcher, crowd, capacity + 1) if slowly else crowd.go())

        if guard == "no CHECK on the counter":
            assert "booked_count lies between 0 and capacity" in await broken(owner)
            assert tally(answers)[BOOKED] > capacity
            return
        assert tally(answers) == {BOOKED: capacity, FULL: CALLERS - capacity}
        assert {answer.body["detail"] for answer in answers if answer.kind == FULL} == {"This slot is fully booked."}
        assert await state(owner, slot) == {"booked_count": capacity, "is_booked": True}


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_a_patient_gets_one_place(ports: list[int], owner: asyncpg.Connection, world: World, is_guarded: bool):
    async with AsyncExitStack() as stack:
        if not is_guarded:
            await stack.enter_async_context(without_index(owner, "ix_appointments_slot_id_patient_id"))
        doctor, patient = await world.doctor(max_patients_per_day=1000), await world.patient()
        slot = await world.slot(doctor, capacity=1000)
        answers = await all_at_once(ports, [book(patient, doctor, slot)] * CALLERS)

        if not is_guarded:
            assert "a patient has at most one live appointment per slot" in await broken(owner)
            assert tally(answers) == {BOOKED: CALLERS}
            return
        assert tally(answers) == {BOOKED: 1, TWICE: CALLERS - 1}
        assert (await state(owner, slot))["booked_count"] == 1


async def test_a_patient_gets_one_place_also_where_there_is_only_one(ports: list[int], world: World):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    answers = await all_at_once(ports, [book(patient, doctor, slot)] * CALLERS)
    assert tally(answers) == {BOOKED: 1, TWICE: CALLERS - 1}


@pytest.mark.parametrize("counting", ["as it is", "slowly", "naively"])
async def test_places_that_are_freed_while_others_book_are_neither_lost_nor_given_twice(
    ports: list[int], owner: asyncpg.Connection, watcher: asyncpg.Connection, world: World, counting: str
):
    held, places, bookers = 50, 150, 150
    async with AsyncExitStack() as stack:
        doctor = await world.doctor(max_patients_per_day=1000)
        slot = await world.slot(doctor, capacity=places)
        holders = await world.patients(held)
        cancellings = [cancel(p, await world.appointment(p, doctor, slot)) for p in holders]
        bookings = [book(patient, doctor, slot) for patient in await world.patients(bookers)]
        if counting != "as it is":
            changes = COUNT_NAIVELY if counting == "naively" else COUNT_SLOWLY
            await stack.enter_async_context(gate(owner, watcher))
            await stack.enter_async_context(rewritten(owner, "appointments_keep_counters", *changes))
        mixed = [call for three in zip(cancellings, *[iter(bookings)] * 3, strict=True) for call in three]
        crowd = await Crowd.gathered(ports, mixed)
        answers = await (crowd.go() if counting == "as it is" else through_the_gate(watcher, crowd, 24))

        if counting == "naively":
            assert "booked_count is the number of appointments that are not cancelled" in await broken(owner)
            return
        cancelled, booked = tally(answers[::4]), tally(a for n, a in enumerate(answers) if n % 4)
        assert cancelled == {CANCELLED: held}
        assert set(booked) <= {BOOKED, FULL}
        assert places - held <= booked[BOOKED] <= bookers
        assert (await state(owner, slot))["booked_count"] == booked[BOOKED]


async def test_the_only_place_goes_to_one_of_those_who_wait_for_it(
    ports: list[int], owner: asyncpg.Connection, world: World
):
    doctor, holder = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    appointment = await world.appointment(holder, doctor, slot)
    bookings = [book(patient, doctor, slot) for patient in await world.patients(CALLERS)]
    first, *others = await all_at_once(ports, [cancel(holder, appointment), *bookings])
    assert first.kind == CANCELLED
    booked = tally(others)[BOOKED]
    assert booked in {0, 1}
    assert tally(others) == Counter({BOOKED: booked, FULL: CALLERS - booked})
    assert await state(owner, slot) == {"booked_count": booked, "is_booked": bool(booked)}


async def test_whoever_cancels_and_books_again_at_once_holds_one_place_or_none(
    ports: list[int], owner: asyncpg.Connection, world: World
):
    doctor = await world.doctor(max_patients_per_day=1000)
    slot = await world.slot(doctor, capacity=CALLERS)
    patients = await world.patients(CALLERS // 2)
    pairs = [(cancel(p, await world.appointment(p, doctor, slot)), book(p, doctor, slot)) for p in patients]
    answers = await all_at_once(ports, [call for pair in pairs for call in pair])
    booked = tally(answers[1::2])
    assert tally(answers[::2]) == {CANCELLED: len(patients)}
    assert booked == Counter({BOOKED: booked[BOOKED], TWICE: len(patients) - booked[BOOKED]})
    assert (await state(owner, slot))["booked_count"] == booked[BOOKED]


@pytest.mark.parametrize("lock", ["row lock", "row lock, slow", "no row lock", "no row lock, naive counter"])
async def test_an_appointment_is_cancelled_once(
    ports: list[int],
    unlocked: list[int],
    owner: asyncpg.Connection,
    watcher: asyncpg.Connection,
    world: World,
    lock: str,
):
    """The row lock lets one caller alone hear that he cancelled; without it the counter still is right."""
    async with AsyncExitStack() as stack:
        if lock != "row lock":
            await stack.enter_async_context(gate(owner, watcher, BEFORE_CANCELLING))
        if lock == "no row lock, naive counter":
            naive = (
                "held boolean := TG_OP <> 'INSERT' AND OLD.status <> 'cancelled'",
                "held boolean := TG_OP <> 'INSERT'",
            )
            await stack.enter_async_context(rewritten(owner, "appointments_keep_counters", naive))
        doctor, patient = await world.doctor(max_patients_per_day=1000), await world.patient()
        slot = await world.slot(doctor, capacity=CALLERS)
        for other in await world.patients(CALLERS // 2):
            await world.appointment(other, doctor, slot)
        appointment = await world.appointment(patient, doctor, slot)
        concerned = [patient, doctor, await world.admin()]
        callers = [concerned[n % 3] for n in range(CALLERS)]
        servers = unlocked if lock.startswith("no row lock") else ports
        crowd = await Crowd.gathered(servers, [cancel(caller, appointment) for caller in callers])
        together = 2 if servers is unlocked else 1
        answers = tally(await (crowd.go() if lock == "row lock" else through_the_gate(watcher, crowd, together)))

        if lock == "no row lock, naive counter":
            assert "booked_count is the number of appointments that are not cancelled" in await broken(owner)
            return
        assert answers == {CANCELLED: answers[CANCELLED], CONFLICT: CALLERS - answers[CANCELLED]}
        assert (answers[CANCELLED] > 1) is (lock == "no row lock")
        assert (await state(owner, slot))["booked_count"] == CALLERS // 2
        if lock == "no row lock":
            assert await broken(owner) == set()
