"""Reminders follow a visit that is moved and a person who wants it otherwise, and none comes twice."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest

from health_services.notifications.models import Channel
from health_services.outgoing.errors import NotNow, Undeliverable
from tests.factories import Person, World, booking
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Carrier, Ledger, book, failing, prefer

HOUR = timedelta(hours=1)


def at_noon(days: int, zone: str = "UTC") -> datetime:
    """Noon in so many days on the clocks of that zone."""
    day = datetime.now(ZoneInfo(zone)).date() + timedelta(days=days)
    return datetime.combine(day, time(12), ZoneInfo(zone)).astimezone(UTC)


def before(start: datetime, *minutes: int) -> dict[int, datetime]:
    """The reminders of a visit, by lead time, where nothing is quiet."""
    return {lead: start - timedelta(minutes=lead) for lead in minutes}


async def move(owner: asyncpg.Connection, appointment: int, **columns: Any) -> None:
    """Change the appointment's slot as its owner would in psql."""
    changes = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, 2))
    query = f"""UPDATE appointment_slots SET {changes}
                WHERE id = (SELECT slot_id FROM appointments WHERE id = $1)"""
    await owner.execute(query, appointment, *columns.values())


async def test_a_visit_that_is_moved_takes_its_reminders_along(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    patient, old, new = await world.patient(), at_noon(5), at_noon(8)
    appointment = await book(api, world, patient, old)
    other = await book(api, world, patient, old)
    await ledger.send(Carrier())  # the two bookings
    await move(owner, appointment, slot_datetime=new)
    assert await owner.fetchval("SELECT revision FROM appointments WHERE id = $1", appointment) == 1
    carrier = Carrier()
    assert await ledger.send(carrier) == 2
    assert carrier.sent() == []
    assert await ledger.waiting(appointment) == before(new, 1440, 120)
    assert await ledger.waiting(other) == before(old, 1440, 120)
    assert {row["revision"] for row in await ledger.rows(appointment_id=appointment, state="queued")} == {1}
    assert {row["expires_at"] for row in await ledger.rows(appointment_id=appointment, state="queued")} == {new}
    dropped = await ledger.rows(appointment_id=appointment, state="skipped")
    assert sorted(row["lead_minutes"] for row in dropped) == [120, 1440]
    assert await ledger.send(carrier) == 0


async def test_the_reminder_of_a_moved_visit_comes_at_its_new_time_alone(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    """The visit is moved twice after its first reminder was sent."""
    patient = await world.patient()
    appointment = await book(api, world, patient, at_noon(5))
    carrier = Carrier()
    (first,) = await ledger.rows(kind=REMINDER, lead_minutes=1440)
    await ledger.make_due(first["id"])
    assert await ledger.send(carrier) == 2
    assert set(carrier.sent()) == {(BOOKED, None), (REMINDER, 1440)}
    for start in (at_noon(5) + 6 * HOUR, at_noon(5) - 2 * HOUR):
        await move(owner, appointment, slot_datetime=start)
        await ledger.send(carrier)
        assert await ledger.waiting(appointment) == before(start, 1440, 120)
    await ledger.make_due(*(row["id"] for row in await ledger.rows(state="queued", lead_minutes=1440)))
    carrier.carried.clear()
    await ledger.send(carrier)
    assert [(row.lead_minutes, row.starts_at) for row in carrier.carried] == [(1440, at_noon(5) - 2 * HOUR)]


async def test_a_visit_that_only_lasts_longer_keeps_its_reminders(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    start, carrier = at_noon(5), Carrier()
    appointment = await book(api, world, await world.patient(), start)
    await ledger.send(Carrier())
    await move(owner, appointment, duration_minutes=45)
    assert await owner.fetchval("SELECT revision FROM appointments") == 1
    await ledger.send(carrier)
    assert carrier.sent() == []
    assert await ledger.waiting(appointment) == before(start, 1440, 120)
    assert [row["attempts"] for row in await ledger.rows(kind=REMINDER)] == [0, 0]
    assert await ledger.send(carrier) == 0


async def test_a_visit_moved_there_and_back_keeps_its_reminders(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    start, carrier = at_noon(5), Carrier()
    appointment = await book(api, world, await world.patient(), start)
    await ledger.send(Carrier())
    for moved in (start + 2 * HOUR, start):
        await move(owner, appointment, slot_datetime=moved)
    await ledger.send(carrier)
    assert carrier.sent() == []
    assert await ledger.waiting(appointment) == before(start, 1440, 120)


async def test_lead_times_that_change_and_change_back(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, start = await world.patient(), at_noon(20)
    appointments = [await book(api, world, patient, start + n * HOUR) for n in range(2)]
    stranger = await book(api, world, await world.patient(), start)
    for leads in ([2880, 180], [60], [], [1440, 120], [5, 20160], [1440, 120]):
        await prefer(api, patient, reminder_lead_minutes=leads)
        for n, appointment in enumerate(appointments):
            assert await ledger.waiting(appointment) == before(start + n * HOUR, *leads)
        assert await ledger.waiting(stranger) == before(start, 1440, 120)
    keys = [row["dedupe_key"] for row in await ledger.rows(appointment_id=appointments[0])]
    assert len(keys) == len(set(keys)) == 1 + 7
    assert len(await ledger.rows(appointment_id=appointments[0], state="skipped")) == 5


async def test_channels_that_change_and_change_back(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, start = await world.patient(user={"mobile_no": "+1 555 0100"}), at_noon(5)
    appointment = await book(api, world, patient, start)
    for channels, used in ((["sms"], "sms"), (["push", "sms"], "sms"), (["email"], "email"), ([], None)):
        await prefer(api, patient, channels={REMINDER: channels})
        found = await ledger.rows(appointment_id=appointment, kind=REMINDER, state="queued")
        assert {row["channel"] for row in found} == ({used} if used else set())
        assert await ledger.waiting(appointment) == (before(start, 1440, 120) if used else {})
    await prefer(api, patient, channels={REMINDER: ["email", "sms", "push"]})
    assert await ledger.waiting(appointment) == before(start, 1440, 120)
    assert len(await ledger.rows(appointment_id=appointment, kind=REMINDER)) == 4


async def test_quiet_hours_and_the_zone_move_reminders(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, start = await world.patient(), at_noon(5)
    appointment = await book(api, world, patient, start)
    plain = before(start, 1440, 120)
    await prefer(api, patient, quiet_hours={"start": "09:30", "end": "10:30"})
    assert await ledger.waiting(appointment) == plain | {120: start - 1.5 * HOUR}
    # the same wall times, five and a half hours earlier: noon in UTC is 17:30 there, and 10:00 is 15:30
    await prefer(api, patient, time_zone="Asia/Kolkata")
    assert await ledger.waiting(appointment) == plain
    await prefer(api, patient, quiet_hours={"start": "17:00", "end": "19:00"})
    assert await ledger.waiting(appointment) == plain | {1440: start - 24 * HOUR + 1.5 * HOUR}
    await prefer(api, patient, quiet_hours=None, time_zone=None)
    assert await ledger.waiting(appointment) == plain
    assert len(await ledger.rows(kind=REMINDER)) == 2


async def test_what_was_sent_is_not_sent_again(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, start = await world.patient(user={"mobile_no": "+1 555 0100"}), at_noon(5)
    appointment = await book(api, world, patient, start)
    (first,) = await ledger.rows(lead_minutes=1440)
    await ledger.set(first["id"], state="'sent'", sent_at="now()")
    for change in (
        {"quiet_hours": {"start": "11:00", "end": "13:00"}},
        {"channels": {REMINDER: ["sms"]}},
        {"reminder_lead_minutes": [60]},
        {"reminder_lead_minutes": [1440, 120], "quiet_hours": None, "channels": {REMINDER: ["email"]}},
    ):
        await prefer(api, patient, **change)
        assert 1440 not in await ledger.waiting(appointment)
    assert await ledger.waiting(appointment) == before(start, 120)
    assert (await ledger.row(first["id"]))["state"] == "sent"


@pytest.mark.parametrize("change", [{"locale": "de"}, {"reminder_lead_minutes": [1440, 60]}])
@pytest.mark.parametrize("error", [NotNow("later"), Undeliverable("no such box")], ids=["put off", "next channel"])
async def test_one_that_is_under_way_is_left_alone(
    api: httpx.AsyncClient, world: World, ledger: Ledger, change: dict[str, Any], error: Exception
):
    """Its time has come, but the gateway has not taken it yet, or another channel has its turn."""
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    start = datetime.now(UTC) + 20 * HOUR
    reminder = await ledger.add_due_reminder(await book(api, world, patient, start))
    await ledger.send(failing(error))
    (under_way,) = await ledger.rows(lead_minutes=1440, state="queued")
    assert (under_way["id"] == reminder) == isinstance(error, NotNow)
    await prefer(api, patient, **change)
    assert await ledger.rows(lead_minutes=1440, state="queued") == [under_way]
    await ledger.make_due(under_way["id"])
    carrier = Carrier()
    await ledger.send(carrier, Channel(under_way["channel"]))
    assert (REMINDER, 1440) in carrier.sent()
    assert len(await ledger.rows(lead_minutes=1440)) == (1 if isinstance(error, NotNow) else 2)


async def change_at_once(
    api: httpx.AsyncClient, world: World, patient: Person, visits: dict[int, datetime], cancelled: int
) -> int:
    """Several changes of one person's wishes, a booking and a cancelling at once; the new appointment's id."""
    doctor = await world.doctor()
    body = booking(patient, doctor, await world.slot(doctor, at_noon(9)))
    wishes: list[dict[str, Any]] = [
        {"reminder_lead_minutes": [60]},
        {"reminder_lead_minutes": [2880, 90]},
        {"channels": {REMINDER: ["sms", "email"]}},
        {"quiet_hours": {"start": "10:30", "end": "11:15"}},
        {"locale": "de"},
    ]
    booked, done, *answers = await asyncio.gather(
        api.post("/appointments/book", json=body, headers=patient.headers),
        api.post(f"/appointments/{cancelled}/cancel", headers=patient.headers),
        *(api.put("/users/me/preferences", json=wish, headers=patient.headers) for wish in wishes),
    )
    assert (booked.status_code, done.status_code) == (201, 200)
    assert {answer.status_code for answer in answers} == {200}
    return int(booked.json()["id"])


@pytest.mark.parametrize("attempt", range(4))
async def test_whatever_happens_at_once_ends_in_one_plan(
    api: httpx.AsyncClient, world: World, ledger: Ledger, attempt: int
):
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    visits = {await book(api, world, patient, start): start for start in (at_noon(6), at_noon(7), at_noon(8))}
    cancelled = next(iter(visits))
    new = await change_at_once(api, world, patient, visits, cancelled)
    wanted = (await api.get("/users/me/preferences", headers=patient.headers)).json()
    assert wanted["quiet_hours"] == {"start": "10:30", "end": "11:15"}
    leads = wanted["reminder_lead_minutes"]
    assert leads in ([60], [2880, 90])
    # ninety minutes or an hour before noon is quiet: the end of that would be too late for the last call
    for appointment, start in visits.items():
        found = await ledger.waiting(appointment)
        assert set(found) == (set() if appointment == cancelled else set(leads))
        for lead, due in found.items():
            assert due == (
                start - timedelta(minutes=lead) if lead == 2880 else start - 1.5 * HOUR - timedelta(minutes=1)
            )
    channels = {
        row["channel"] for row in await ledger.rows(kind=REMINDER, state="queued") if row["appointment_id"] != new
    }
    assert channels == {"sms"}
    assert len(await ledger.rows(kind=CANCELLED)) == 1
    # what was booked in that moment follows with the next change at the latest
    await prefer(api, patient, locale="en")
    assert set(await ledger.waiting(new)) == set(leads)
    keys = [row["dedupe_key"] for row in await ledger.rows()]
    assert len(keys) == len(set(keys))


async def test_a_visit_that_is_moved_after_its_last_reminder_is_reminded_of_again(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    start = at_noon(8)
    appointment = await book(api, world, await world.patient(), at_noon(5))
    for row in await ledger.rows():
        await ledger.set(row["id"], state="'sent'", sent_at="now()")
    await move(owner, appointment, slot_datetime=start)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == []
    assert await ledger.waiting(appointment) == before(start, 1440, 120)
    (first,) = await ledger.rows(state="queued", lead_minutes=1440)
    await ledger.make_due(first["id"])
    await ledger.send(carrier)
    assert carrier.sent() == [(REMINDER, 1440)], "that of the old time overtakes none of the new one"


async def test_one_that_is_not_wanted_any_more_overtakes_none(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient = await world.patient()
    await book(api, world, patient, at_noon(5))
    told, *reminders = await ledger.rows()
    await ledger.set(told["id"], state="'sent'", sent_at="now()")
    await ledger.make_due(*(row["id"] for row in reminders))
    await prefer(api, patient, reminder_lead_minutes=[1440])
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == [(REMINDER, 1440)]
