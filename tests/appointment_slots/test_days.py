"""A slot's day is the day at its clinic, and the doctor's limit counts those days."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.answers import refusal
from tests.appointment_slots.test_endpoints import SOON
from tests.factories import Person, World, booking

ZONES = ("America/New_York", "Europe/London", "Australia/Lord_Howe")
DAY_FULL = "The doctor sees no more patients on that day."


def changes(zone: ZoneInfo) -> list[date]:
    """The next two days, from the day after tomorrow on, whose midnights are not 24 hours apart."""
    found: list[date] = []
    day = (SOON + timedelta(days=2)).date()
    while len(found) < 2:
        start, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        if end - start != timedelta(days=1):
            found.append(day)
        day += timedelta(days=1)
    return found


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of the day there."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


async def book(api: httpx.AsyncClient, world: World, doctor: Person, start: datetime) -> httpx.Response:
    """A new patient books a new slot at this instant."""
    patient, slot = await world.patient(), await world.slot(doctor, start, duration_minutes=5)
    return await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)


def edges() -> st.SearchStrategy[datetime]:
    """Instants of three decades, half of them near a change of the clocks, down to the second."""
    anywhere = st.datetimes(datetime(2015, 1, 1), datetime(2045, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    turns = [midnight(day, ZoneInfo(zone)) for zone in ZONES for day in changes(ZoneInfo(zone))]
    near = st.builds(lambda turn, s: turn + timedelta(seconds=s), st.sampled_from(turns), st.integers(-90_000, 180_000))
    return st.one_of(anywhere, near)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(instants=st.lists(edges(), min_size=20, max_size=40))
async def test_the_day_of_any_instant_is_the_zones(world: World, owner: asyncpg.Connection, instants: list[datetime]):
    for zone in ZONES:
        doctor = await world.doctor(await world.clinic(zone))
        rows = await owner.fetch(
            """INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, is_active)
               SELECT $1, $2, at, false FROM unnest($3::timestamptz[]) AS at RETURNING slot_datetime, local_date""",
            *(doctor.doctor_id, doctor.clinic_id, instants),
        )
        assert len(rows) == len(instants)
        for row in rows:
            assert row["local_date"] == row["slot_datetime"].astimezone(ZoneInfo(zone)).date(), row


@pytest.mark.parametrize("zone", ZONES)
async def test_a_day_with_a_change_of_the_clocks_is_one_day(api: httpx.AsyncClient, world: World, zone: str):
    place = ZoneInfo(zone)
    for day in changes(place):
        doctor = await world.doctor(await world.clinic(zone), max_patients_per_day=1)
        first, after = midnight(day, place), midnight(day + timedelta(days=1), place)
        minutes = timedelta(minutes=5)
        assert (await book(api, world, doctor, first)).status_code == 201
        for start in (first + minutes, first + timedelta(hours=3), after - minutes):
            refused = refusal(await book(api, world, doctor, start), "SLOT_UNAVAILABLE")
            assert refused["detail"] == DAY_FULL
        assert (await book(api, world, doctor, first - minutes)).status_code == 201
        assert (await book(api, world, doctor, after)).status_code == 201


async def test_midnight_is_the_clinics_not_greenwichs(api: httpx.AsyncClient, world: World):
    zone = ZoneInfo("America/New_York")
    doctor = await world.doctor(await world.clinic(str(zone)), max_patients_per_day=2)
    day = (SOON + timedelta(days=3)).date()
    evening = midnight(day, zone) + timedelta(hours=17, minutes=45)
    late = midnight(day + timedelta(days=1), zone) - timedelta(minutes=5)
    assert evening.date() < late.date(), "two days in Greenwich, one in New York"
    assert [(await book(api, world, doctor, start)).status_code for start in (evening, late)] == [201, 201]
    refusal(await book(api, world, doctor, late - timedelta(hours=1)), "SLOT_UNAVAILABLE")
    next_day = midnight(day + timedelta(days=1), zone)
    assert next_day.date() == late.date()
    assert (await book(api, world, doctor, next_day)).status_code == 201


async def test_slots_to_come_move_to_the_new_zones_day(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, doctor = await world.admin(), await world.doctor(max_patients_per_day=1)
    start = SOON.replace(hour=1) + timedelta(days=2)
    for hours in (0, 3):
        await world.slot(doctor, start + timedelta(hours=hours), capacity=2)
    days = "SELECT local_date FROM appointment_slots ORDER BY id"
    assert [row[0] for row in await owner.fetch(days)] == [start.date(), start.date()]
    path = f"/clinics/{doctor.clinic_id}"
    changed = await api.put(path, json={"time_zone": "Etc/GMT+3"}, headers=admin.headers)
    assert changed.status_code == 200, changed.text
    assert [row[0] for row in await owner.fetch(days)] == [start.date() - timedelta(days=1), start.date()]
    patients = [await world.patient() for _ in range(2)]
    for slot, patient in enumerate(patients, 1):
        body = booking(patient, doctor, slot)
        assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201


async def test_the_zone_is_fixed_while_a_day_that_has_begun_holds_a_place(api: httpx.AsyncClient, world: World):
    """Elsewhere the same date may begin anew, and would take the doctor's limit a second time."""
    admin, doctor, patient = await world.admin(), await world.doctor(max_patients_per_day=1), await world.patient()
    begun = await world.slot(doctor, datetime.now(UTC) - timedelta(hours=2))
    await world.appointment(patient, doctor, begun, status="completed")
    path = f"/clinics/{doctor.clinic_id}"
    refusal(await api.put(path, json={"time_zone": "Pacific/Kiritimati"}, headers=admin.headers), "CONFLICT")


async def test_a_slot_that_moves_takes_its_appointments_to_the_other_day(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor = await world.doctor(max_patients_per_day=1)
    start = SOON.replace(hour=12) + timedelta(days=3)
    booked = await book(api, world, doctor, start)
    slot, appointment = booked.json()["slot_id"], booked.json()["id"]
    moved = "UPDATE appointment_slots SET slot_datetime = slot_datetime + $2 WHERE id = $1"
    await owner.execute(moved, slot, timedelta(days=1))
    assert await owner.fetchval("SELECT revision FROM appointments WHERE id = $1", appointment) == 1
    # the day that it left is free again, and the one where it is now is full
    assert (await book(api, world, doctor, start)).status_code == 201
    full = await book(api, world, doctor, start + timedelta(days=1, hours=1))
    refusal(full, "SLOT_UNAVAILABLE")
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(moved, slot, -timedelta(days=1, hours=2))
