"""From one channel to the next: nobody is told twice, nobody is forgotten, and who is not reached is to be called."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from health_services.notifications.models import Channel
from health_services.outgoing.errors import NotNow, Undeliverable
from tests.api.answers import refusal
from tests.factories import Person, World
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Carrier, Ledger, book, failing, prefer

GONE, LATER = Undeliverable("no such box"), NotNow("put off by the mail server (421)")
NOWHERE = {"email": None, "password_hash": None}


def ahead(hours: float) -> datetime:
    """So many hours from now."""
    return datetime.now(UTC) + timedelta(hours=hours)


async def calls(ledger: Ledger, api: httpx.AsyncClient, admin: Person) -> list[tuple[int, str]]:
    """Who is to be called, and of what."""
    answer = await api.get("/notifications/unreachable", headers=admin.headers)
    return [(row["user_id"], row["kind"]) for row in answer.json()]


@pytest.fixture
async def patient(world: World) -> Person:
    return await world.patient(user={"mobile_no": "+1 555 0100"})


async def due_reminder(api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person) -> int:
    """The id of the first reminder of a visit, due a second ago; the booking is told already."""
    await book(api, world, patient, ahead(24.1))
    told, first, _ = await ledger.rows(user_id=patient.user_id)
    await ledger.set(told["id"], state="'sent'")
    await ledger.make_due(first["id"])
    return int(first["id"])


async def test_a_reminder_between_two_attempts_follows_a_change_of_channel(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person
):
    reminder = await due_reminder(api, world, ledger, patient)
    await ledger.send(failing(LATER))
    await prefer(api, patient, channels={REMINDER: ["sms"]})
    await ledger.set(reminder, next_attempt_at="now()")
    by_mail, by_sms = Carrier(), Carrier()
    await ledger.send(by_mail)
    await ledger.send(by_sms, Channel.SMS)
    assert (by_mail.sent(), by_sms.sent()) == ([], [(REMINDER, 1440)])


async def test_a_message_that_another_channel_has_taken_is_not_tried_again(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person
):
    admin = await world.admin()
    await book(api, world, patient, ahead(72))
    (told,) = await ledger.rows(kind=BOOKED)
    await ledger.send(failing(GONE))
    again = f"/notifications/{told['id']}/retry"
    assert "queued by sms" in refusal(await api.post(again, headers=admin.headers), "CONFLICT")["detail"]
    await ledger.send(Carrier(), Channel.SMS)
    assert "sent by sms" in refusal(await api.post(again, headers=admin.headers), "CONFLICT")["detail"]
    assert await ledger.send(Carrier()) == 0


async def test_whom_a_later_message_about_the_visit_reaches_nobody_has_to_call(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person
):
    admin, other = await world.admin(), await world.patient()
    for person in (patient, other):
        await book(api, world, person, ahead(24.1))
    await ledger.send(failing(GONE))
    await ledger.send(failing(GONE), Channel.SMS)
    assert set(await calls(ledger, api, admin)) == {(patient.user_id, BOOKED), (other.user_id, BOOKED)}
    (reminder,) = await ledger.rows(kind=REMINDER, lead_minutes=1440, user_id=patient.user_id)
    await ledger.make_due(reminder["id"])
    await ledger.send(Carrier())
    assert await calls(ledger, api, admin) == [(other.user_id, BOOKED)]
    states = {row["state"] for row in await ledger.rows(kind=BOOKED, user_id=patient.user_id)}
    assert states == {"failed"}, "it is still on record"


@pytest.mark.parametrize(
    ("sms", "becomes", "is_called"),
    [("failed", "failed", True), ("skipped", "queued", False), ("queued", "queued", False), ("sent", "sent", False)],
)
async def test_the_next_channel_may_know_the_message_already(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person, sms: str, becomes: str, is_called: bool
):
    admin = await world.admin()
    await book(api, world, patient, ahead(72))
    (told,) = await ledger.rows(kind=BOOKED)
    await ledger.send(failing(GONE))
    (other,) = await ledger.rows(kind=BOOKED, channel="sms")
    await ledger.set(other["id"], state=f"'{sms}'", next_attempt_at="now() + interval '1 hour'")
    await ledger.set(told["id"], state="'queued'", attempts="0", next_attempt_at="now()")
    await ledger.send(failing(GONE))
    assert [(row["channel"], row["state"]) for row in await ledger.rows(kind=BOOKED)] == [
        ("email", "failed"),
        ("sms", becomes),
    ]
    assert await calls(ledger, api, admin) == ([(patient.user_id, BOOKED)] if is_called else [])


async def test_who_gets_an_address_before_the_reminder_is_due_is_reminded(
    api: httpx.AsyncClient, world: World, ledger: Ledger
):
    admin, patient = await world.admin(), await world.patient(user=NOWHERE)
    await book(api, world, patient, ahead(24.1))
    assert await calls(ledger, api, admin) == [(patient.user_id, BOOKED)]
    _, reminder, _ = await ledger.rows()
    await ledger.owner.execute("UPDATE users SET email = 'new@example.org' WHERE id = $1", patient.user_id)
    await ledger.make_due(reminder["id"])
    await ledger.send(carrier := Carrier())
    assert [row.email for row in carrier.carried] == ["new@example.org"]
    assert await calls(ledger, api, admin) == []


async def test_who_has_no_address_is_called_once_for_a_visit(api: httpx.AsyncClient, world: World, ledger: Ledger):
    admin, patient = await world.admin(), await world.patient(user=NOWHERE)
    appointments = [await book(api, world, patient, ahead(24.1)) for _ in range(2)]
    for row in await ledger.rows(kind=REMINDER, lead_minutes=1440, appointment_id=appointments[0]):
        await ledger.make_due(row["id"])
    await ledger.send(failing(GONE))
    assert sorted(await calls(ledger, api, admin)) == [(patient.user_id, BOOKED), (patient.user_id, REMINDER)]
    await api.post(f"/appointments/{appointments[0]}/cancel", headers=admin.headers)
    assert sorted(await calls(ledger, api, admin)) == [(patient.user_id, BOOKED), (patient.user_id, CANCELLED)]


async def test_who_cannot_sign_in_any_more_and_still_has_a_visit_is_called(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person
):
    admin = await world.admin()
    await due_reminder(api, world, ledger, patient)
    await ledger.owner.execute("UPDATE users SET is_active = false WHERE id = $1", patient.user_id)
    await ledger.send(carrier := Carrier())
    assert (carrier.sent(), await ledger.send(carrier, Channel.SMS)) == ([], 0)
    assert await calls(ledger, api, admin) == [(patient.user_id, REMINDER)]


async def test_the_last_wish_counts_whoever_plans_at_that_moment(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger, patient: Person
):
    """A worker that finds a moved visit waits for a change of preferences that is being made, and then sees it."""
    await book(api, world, patient, ahead(600))
    await prefer(api, patient, reminder_lead_minutes=[1440, 120])
    await ledger.send(Carrier())
    start = await owner.fetchval("UPDATE appointment_slots SET slot_datetime = slot_datetime + $1 RETURNING "
                                 "slot_datetime", timedelta(days=1))  # fmt: skip
    sender = ledger.sender(Carrier())
    (claimed, other) = await sender.take(5)
    async with owner.transaction():
        await owner.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", patient.user_id)
        await owner.execute("UPDATE notification_preferences SET reminder_lead_minutes = '{60}'")
        working = asyncio.create_task(sender.carry_out(claimed))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        async with asyncio.timeout(30):
            while not await owner.fetchval(waiting):
                assert not working.done(), "it did not wait"
                await asyncio.sleep(0.01)
    await working
    await sender.carry_out(other)
    appointment = await owner.fetchval("SELECT id FROM appointments")
    assert await ledger.waiting(appointment) == {60: start - timedelta(hours=1)}


async def test_who_failed_on_his_only_channel_can_be_told_on_another_later(
    api: httpx.AsyncClient, world: World, ledger: Ledger, patient: Person
):
    admin = await world.admin()
    await prefer(api, patient, channels={BOOKED: ["push"]})
    await book(api, world, patient, ahead(72))
    (told,) = await ledger.rows(kind=BOOKED)
    await prefer(api, patient, channels={BOOKED: ["email", "sms", "push"]})
    await api.post(f"/notifications/{told['id']}/retry", headers=admin.headers)
    await ledger.send(failing(GONE), Channel.PUSH)
    await ledger.send(carrier := Carrier())
    assert carrier.sent() == [(BOOKED, None)]
    assert await calls(ledger, api, admin) == []
