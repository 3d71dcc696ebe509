"""Races about slots themselves: two that overlap, and one that is taken back while it is being booked."""

from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

from tests.factories import Person, World, soon
from tests.races.callers import Call, Crowd, all_at_once, tally
from tests.races.guards import (
    broken,
    gate,
    in_the_gate,
    rewritten,
    through_the_gate,
    without_constraint,
    without_trigger,
)
from tests.races.test_bookings import BETWEEN_LOOK_AND_WRITE, BOOKED, CALLERS, CONFLICT, FULL, book

DELETED, GONE = (200, None), (404, "RESOURCE_NOT_FOUND")
HELD_ON_NOTHING = "nobody holds a place in a slot that was taken back"


def offer(doctor: Person, minutes: int) -> Call:
    body = {
        "doctor_id": doctor.doctor_id,
        "clinic_id": doctor.clinic_id,
        "slot_datetime": (soon() + timedelta(minutes=minutes)).isoformat(),
        "duration_minutes": 60,
    }
    return Call("POST", "/slots", doctor.headers, body)


@pytest.mark.parametrize(("is_locked", "is_constrained"), [(True, True), (False, True), (True, False), (False, False)])
async def test_slots_of_a_doctor_never_overlap(
    ports: list[int],
    unlocked: list[int],
    owner: asyncpg.Connection,
    watcher: asyncpg.Connection,
    world: World,
    is_locked: bool,
    is_constrained: bool,
):
    """One writer at a time spares the rest the constraint; the constraint alone is enough, and nothing is not."""
    async with AsyncExitStack() as stack:
        if not is_constrained:
            name = "ex_appointment_slots_doctor_id_period"
            await stack.enter_async_context(without_constraint(owner, "appointment_slots", name))
        await stack.enter_async_context(gate(owner, watcher, "BEFORE INSERT ON appointment_slots FOR EACH ROW"))
        doctor = await world.doctor()
        calls = [offer(doctor, n % 59) for n in range(CALLERS)]
        crowd = await Crowd.gathered(ports if is_locked else unlocked, calls)
        answers = tally(await through_the_gate(watcher, crowd, 1 if is_locked else 2))

        if not is_locked and not is_constrained:
            assert "active slots of one doctor never overlap" in await broken(owner)
            return
        assert answers == {BOOKED: 1, CONFLICT: CALLERS - 1}
        assert await owner.fetchval("SELECT count(*) FROM appointment_slots") == 1
        assert await broken(owner) == set()


def delete(admin: Person, slot: int) -> Call:
    return Call("DELETE", f"/slots/{slot}", admin.headers)


async def test_a_slot_is_booked_or_taken_back_never_both(ports: list[int], owner: asyncpg.Connection, world: World):
    capacity, deletions = 7, 10
    admin, doctor = await world.admin(), await world.doctor()
    slot = await world.slot(doctor, capacity=capacity)
    bookings = [book(patient, doctor, slot) for patient in await world.patients(CALLERS - deletions)]
    answers = await all_at_once(ports, [delete(admin, slot)] * deletions + bookings)
    deleted, booked = tally(answers[:deletions]), tally(answers[deletions:])
    if DELETED in deleted:
        assert deleted == {DELETED: 1, GONE: deletions - 1}
        assert booked == {FULL: len(bookings)}
    else:
        assert deleted == {CONFLICT: deletions}
        assert booked == {BOOKED: capacity, FULL: len(bookings) - capacity}


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_a_slot_taken_back_between_look_and_write_is_not_booked(
    ports: list[int], owner: asyncpg.Connection, watcher: asyncpg.Connection, world: World, is_guarded: bool
):
    async with AsyncExitStack() as stack:
        if not is_guarded:
            change = ("(change > 0 OR revives) AND NOT slot.is_active", "false")
            await stack.enter_async_context(rewritten(owner, "appointments_keep_counters", change))
        await stack.enter_async_context(gate(owner, watcher, BETWEEN_LOOK_AND_WRITE))
        admin, doctor = await world.admin(), await world.doctor(max_patients_per_day=1000)
        slot = await world.slot(doctor, capacity=CALLERS)
        patients = await world.patients(CALLERS)
        bookers = await Crowd.gathered(ports[:1], [book(patient, doctor, slot) for patient in patients])
        deleters = await Crowd.gathered(ports[1:], [delete(admin, slot)])
        booked, deleted = await in_the_gate(watcher, bookers, deleters, is_held_up=False)

        if not is_guarded:
            assert HELD_ON_NOTHING in await broken(owner)
            return
        assert deleted == {DELETED: 1}
        assert booked == {FULL: CALLERS}


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_a_slot_is_not_taken_back_from_a_booking_under_way(
    ports: list[int], owner: asyncpg.Connection, watcher: asyncpg.Connection, world: World, is_guarded: bool
):
    """The first booking has written and not yet committed when the slot is to be taken back."""
    deletions, capacity = 10, 7
    async with AsyncExitStack() as stack:
        if not is_guarded:
            name = "appointment_slots_keep_live"
            await stack.enter_async_context(without_trigger(owner, "appointment_slots", name))
        await stack.enter_async_context(gate(owner, watcher, "AFTER INSERT ON appointments FOR EACH ROW"))
        admin, doctor = await world.admin(), await world.doctor()
        slot = await world.slot(doctor, capacity=capacity)
        patients = await world.patients(CALLERS - deletions)
        bookers = await Crowd.gathered(ports[:1], [book(patient, doctor, slot) for patient in patients])
        deleters = await Crowd.gathered(ports[1:], [delete(admin, slot)] * deletions)
        booked, deleted = await in_the_gate(watcher, bookers, deleters, is_held_up=True)

        if not is_guarded:
            assert HELD_ON_NOTHING in await broken(owner)
            return
        assert deleted == {CONFLICT: deletions}
        assert booked == {BOOKED: capacity, FULL: len(patients) - capacity}
