"""What becomes of a message whose time has come: sent, dropped, or kept for later."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from health_services.notifications.models import Channel
from tests.factories import Person, World
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Carrier, Ledger, book, prefer

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def ahead(hours: float) -> datetime:
    """So many hours from now."""
    return datetime.now(UTC) + hours * HOUR


def around_now(before: timedelta, after: timedelta) -> dict[str, str]:
    """Quiet hours on the clocks of UTC that began and end so far from now."""
    now = datetime.now(UTC)
    return {"start": f"{now - before:%H:%M}", "end": f"{now + after:%H:%M}"}


async def due_reminder(api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person, hours: float) -> int:
    """The id of the last reminder of a visit in so many hours, due a second ago; nothing else waits."""
    await book(api, world, patient, ahead(hours))
    reminder = (await ledger.rows())[-1]["id"]
    await ledger.owner.execute("UPDATE notifications SET state = 'sent' WHERE id <> $1", reminder)
    await ledger.make_due(reminder)
    return int(reminder)


async def test_what_is_due_is_sent_once_and_what_is_not_waits(api: httpx.AsyncClient, world: World, ledger: Ledger):
    await book(api, world, await world.patient(), ahead(72))
    carrier = Carrier()
    assert [await ledger.send(carrier), await ledger.send(carrier)] == [1, 0]
    assert carrier.sent() == [(BOOKED, None)]
    told, *reminders = await ledger.rows()
    assert (told["state"], told["attempts"], told["last_error"], told["is_unreachable"]) == ("sent", 1, None, False)
    assert told["created_at"] <= told["sent_at"] <= datetime.now(UTC)
    assert [(row["state"], row["attempts"], row["sent_at"]) for row in reminders] == [("queued", 0, None)] * 2
    await ledger.make_due(*(row["id"] for row in reminders))
    await ledger.send(carrier)
    assert carrier.sent()[1:] == [(REMINDER, 120)]


async def test_each_lane_takes_what_is_its_own(api: httpx.AsyncClient, world: World, ledger: Ledger):
    people = {
        channel: await world.patient(user={"mobile_no": "+1 555 0100"}) for channel in (Channel.EMAIL, Channel.SMS)
    }
    for channel, person in people.items():
        await prefer(api, person, channels={BOOKED: [channel]})
        await book(api, world, person, ahead(72))
    for channel, person in people.items():
        carrier = Carrier()
        await ledger.send(carrier, channel)
        assert [row.user_id for row in carrier.carried] == [person.user_id]
    assert await ledger.send(Carrier(), Channel.PUSH) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE patients SET is_active = false", "the patient is not active"),
        ("UPDATE notifications SET expires_at = now()", "too late"),
        ("UPDATE appointments SET status = 'completed'", "the appointment is not live"),
        ("UPDATE appointments SET status = 'no_show'", "the appointment is not live"),
        ("UPDATE appointments SET status = 'cancelled'", "the appointment is not live"),
    ],
)
async def test_what_is_not_wanted_any_more_is_dropped(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger, change: str, reason: str
):
    """Whatever the kind; whoever changed it by psql."""
    await book(api, world, await world.patient(), ahead(30))
    told, first, last = await ledger.rows()
    await ledger.make_due(last["id"])
    await owner.execute(change)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == []
    for row in (told, last):
        dropped = await ledger.row(row["id"])
        assert (dropped["state"], dropped["last_error"], dropped["is_unreachable"]) == ("skipped", reason, False)
    assert (await ledger.row(first["id"]))["state"] == "queued"
    assert await ledger.send(carrier) == 0


async def test_a_cancelling_is_told_of_an_appointment_that_is_not_live(
    api: httpx.AsyncClient, world: World, ledger: Ledger
):
    patient = await world.patient()
    await api.post(f"/appointments/{await book(api, world, patient, ahead(30))}/cancel", headers=patient.headers)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == [(CANCELLED, None)]
    assert (carrier.carried[0].status, carrier.carried[0].data) == ("cancelled", '{"by": "patient"}')


@pytest.mark.parametrize("other", ["queued", "sent"])
async def test_of_two_reminders_that_are_late_the_later_one_is_sent(
    api: httpx.AsyncClient, world: World, ledger: Ledger, other: str
):
    await book(api, world, await world.patient(), ahead(30))
    _, first, last = await ledger.rows()
    await ledger.make_due(first["id"], last["id"])
    await ledger.set(last["id"], state=f"'{other}'")
    carrier = Carrier()
    await ledger.send(carrier)
    overtaken = await ledger.row(first["id"])
    assert (overtaken["state"], overtaken["last_error"]) == ("skipped", "a later reminder is due already")
    assert set(carrier.sent()) == {(BOOKED, None), *([(REMINDER, 120)] if other == "queued" else [])}
    # of another visit's it is none
    await book(api, world, await world.patient(), ahead(30))
    await ledger.make_due((await ledger.rows(lead_minutes=1440))[-1]["id"])
    await ledger.send(carrier)
    assert carrier.sent().count((REMINDER, 1440)) == 1


async def test_a_late_reminder_wakes_nobody(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient = await world.patient()
    reminder = await due_reminder(api, world, ledger, patient, 12)
    await prefer(api, patient, quiet_hours=around_now(HOUR, 2 * HOUR))
    await ledger.set(reminder, due_at="now() - interval '5 minutes'", next_attempt_at="now()")
    carrier = Carrier()
    assert await ledger.send(carrier) == 1
    waiting = await ledger.row(reminder)
    assert (waiting["state"], waiting["attempts"], waiting["last_error"]) == ("queued", 0, "quiet hours")
    assert 1 * HOUR < waiting["next_attempt_at"] - datetime.now(UTC) <= 2 * HOUR
    assert carrier.sent() == []
    await ledger.wish(patient, quiet_from="NULL", quiet_until="NULL")
    await ledger.set(reminder, next_attempt_at="now()")
    await ledger.send(carrier)
    assert carrier.sent() == [(REMINDER, 120)]


@pytest.mark.parametrize(("late", "hours"), [(MINUTE, 12.0), (3 * HOUR, 0.75)], ids=["punctual", "the last call"])
async def test_in_quiet_hours_comes_what_was_planned_so_and_the_last_call(
    api: httpx.AsyncClient, world: World, ledger: Ledger, late: timedelta, hours: float
):
    patient = await world.patient()
    reminder = await due_reminder(api, world, ledger, patient, hours + 2.1)
    await prefer(api, patient, quiet_hours=around_now(4 * HOUR, 2 * HOUR))
    start = f"now() + interval '{hours} hours'"
    await ledger.owner.execute(f"UPDATE appointment_slots SET slot_datetime = {start}")
    moved = {"starts_at": "(SELECT slot_datetime FROM appointment_slots)"}
    seconds = late.total_seconds()
    await ledger.set(reminder, due_at=f"now() - interval '{seconds} seconds'", next_attempt_at="now()", **moved)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == [(REMINDER, 120)]


async def test_only_reminders_wait_for_the_morning(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient = await world.patient()
    await prefer(api, patient, quiet_hours=around_now(HOUR, 2 * HOUR))
    appointment = await book(api, world, patient, ahead(72))
    await ledger.owner.execute("UPDATE notifications SET due_at = due_at - interval '1 hour' WHERE kind = $1", BOOKED)
    carrier = Carrier()
    await ledger.send(carrier)
    await api.post(f"/appointments/{appointment}/cancel", headers=patient.headers)
    await ledger.send(carrier)
    assert carrier.sent() == [(BOOKED, None), (CANCELLED, None)]


@pytest.mark.parametrize(
    ("wish", "planned"),
    [
        ({"reminder_lead_minutes": "'{60,30}'"}, {(60, "email"), (30, "email")}),
        ({"channels": """'{"appointment_reminder": ["sms"]}'"""}, {(120, "sms")}),
        ({"channels": """'{"appointment_reminder": []}'"""}, set()),
    ],
    ids=["lead time", "channel", "none"],
)
async def test_wishes_of_the_moment_of_the_booking_count_when_its_reminder_is_due(
    api: httpx.AsyncClient, world: World, ledger: Ledger, wish: dict[str, str], planned: set[tuple[int, str]]
):
    """The booking read the wishes before they changed, and was not there yet when the others were planned anew."""
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    reminder = await due_reminder(api, world, ledger, patient, 72)
    await ledger.wish(patient, **wish)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == []
    dropped = await ledger.row(reminder)
    assert (dropped["state"], dropped["last_error"]) == ("skipped", "not wanted any more")
    assert {(row["lead_minutes"], row["channel"]) for row in await ledger.rows(state="queued")} == planned


@pytest.mark.parametrize(("left", "others"), [([], 0), (["sms"], 1)])
async def test_who_stopped_a_channel_is_not_told_on_it_though_the_message_waited(
    api: httpx.AsyncClient, world: World, ledger: Ledger, left: list[str], others: int
):
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    await book(api, world, patient, ahead(1.5))
    await prefer(api, patient, channels={BOOKED: left})
    by_mail, by_sms = Carrier(), Carrier()
    await ledger.send(by_mail)
    assert (await ledger.row(1))["state"] == "skipped"
    assert await ledger.send(by_sms, Channel.SMS) == others
    assert (by_mail.sent(), len(by_sms.carried)) == ([], others)
    assert not (await ledger.row(1))["is_unreachable"]


async def test_what_was_cancelled_while_it_waited_for_its_turn_is_not_sent(
    api: httpx.AsyncClient, world: World, ledger: Ledger
):
    patient = await world.patient()
    appointment = await book(api, world, patient, ahead(1.5))
    sender = ledger.sender(carrier := Carrier())
    (claimed,) = await sender.take(5)
    await api.post(f"/appointments/{appointment}/cancel", headers=patient.headers)
    await sender.carry_out(claimed)
    assert carrier.sent() == []
    assert [row["state"] for row in await ledger.rows()] == ["skipped", "queued"]
