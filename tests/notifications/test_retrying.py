"""What a gateway does not take: tried again with growing pauses, then on the next channel, then left to a person."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import asyncpg
import httpx
import pytest
import structlog

from health_services.api import middleware
from health_services.database.base import AnyRow
from health_services.notifications import sender as sending
from health_services.notifications.deciding import ATTEMPTS, LONGEST_PAUSE, PAUSES, pause
from health_services.notifications.models import Channel
from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.worker import Lane, Worker
from tests.factories import World
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Carrier, Ledger, book, failing, prefer

GONE, LATER = Undeliverable("no such box"), NotNow("put off by the mail server (421)")


def ahead(hours: float) -> datetime:
    """So many hours from now."""
    return datetime.now(UTC) + timedelta(hours=hours)


async def told(api: httpx.AsyncClient, world: World, ledger: Ledger, mobile_no: str | None = None) -> int:
    """The id of the message that tells a patient of a booking, due now."""
    await book(api, world, await world.patient(user={"mobile_no": mobile_no}), ahead(600))
    return int((await ledger.rows(kind=BOOKED))[-1]["id"])


def test_pauses_grow_and_are_spread():
    usual = [pause(attempt, 0.5, None) for attempt in range(1, ATTEMPTS)]
    assert usual == list(PAUSES)
    assert all(earlier <= later for earlier, later in pairwise(usual))
    assert usual[0] < usual[3] < usual[-1]
    # over a night, but not over a week
    assert timedelta(hours=8) < sum(usual, timedelta()) < timedelta(days=2)
    for attempt in range(1, ATTEMPTS):
        least, most = pause(attempt, 0, None), pause(attempt, 1, None)
        assert (least, most) == (PAUSES[attempt - 1] * 0.8, PAUSES[attempt - 1] * 1.2)


def test_what_the_gateway_asks_for_counts_where_it_is_longer():
    assert pause(1, 0.5, 3600) == timedelta(hours=1)
    assert pause(1, 0.5, 1) == PAUSES[0]
    assert pause(ATTEMPTS - 1, 0.5, 3600) == PAUSES[-1]
    assert pause(1, 0.5, 10**9) == LONGEST_PAUSE


async def test_not_now_is_tried_again_until_the_last_attempt(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger)
    waits = []
    for attempt in range(1, ATTEMPTS):
        await ledger.set(message, next_attempt_at="now()")
        assert await ledger.send(failing(LATER)) == 1
        row = await ledger.row(message)
        assert (row["state"], row["attempts"], row["last_error"]) == ("queued", attempt, LATER.reason)
        waits.append(row["next_attempt_at"] - row["updated_at"])
        assert await ledger.send(Carrier()) == 0
    for wait, planned in zip(waits, PAUSES, strict=True):
        assert abs(wait - planned) < timedelta(seconds=5)
    await ledger.set(message, next_attempt_at="now()")
    await ledger.send(failing(LATER))
    row = await ledger.row(message)
    assert (row["state"], row["attempts"], row["is_unreachable"]) == ("failed", ATTEMPTS, True)
    assert row["last_error"] == LATER.reason
    assert len(await ledger.rows(kind=BOOKED)) == 1


async def test_the_time_that_the_gateway_names_is_kept(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger)
    await ledger.send(failing(NotNow("too many", retry_after=7200)))
    row = await ledger.row(message)
    assert abs(row["next_attempt_at"] - row["updated_at"] - timedelta(hours=2)) < timedelta(seconds=5)


async def test_what_works_in_the_end_shows_no_error(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger)
    await ledger.send(failing(LATER))
    await ledger.set(message, next_attempt_at="now()")
    await ledger.send(Carrier())
    row = await ledger.row(message)
    assert (row["state"], row["attempts"], row["last_error"]) == ("sent", 2, None)


async def test_the_next_channel_has_its_turn_at_once(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger, "+1 555 0100")
    await ledger.owner.execute(
        """INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth)
           SELECT user_id, 'https://push.example.net/a', '', '' FROM notifications WHERE id = $1""",
        message,
    )
    for channel, later in ((Channel.EMAIL, "sms"), (Channel.SMS, "push")):
        await ledger.send(failing(GONE), channel)
        assert [row["channel"] for row in await ledger.rows(kind=BOOKED, state="queued")] == [later]
    first, second, third = await ledger.rows(kind=BOOKED)
    assert [row["state"] for row in (first, second)] == ["failed", "failed"]
    assert {row["last_error"] for row in (first, second)} == {"no such box"}
    for row in (second, third):
        assert row["created_at"] - timedelta(seconds=60) < row["due_at"] <= datetime.now(UTC)
        for name in ("user_id", "appointment_id", "subject", "revision", "starts_at", "expires_at", "data"):
            assert row[name] == first[name]
    assert third["dedupe_key"] == first["dedupe_key"].replace("email", "push")
    carrier = Carrier()
    await ledger.send(carrier, Channel.PUSH)
    assert carrier.sent() == [(BOOKED, None)]
    assert await ledger.rows(is_unreachable=True) == []


async def test_who_is_reached_by_none_is_on_the_call_list(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger, "+1 555 0100")
    await ledger.send(failing(GONE))
    assert await ledger.rows(is_unreachable=True) == []
    await ledger.send(failing(GONE), Channel.SMS)
    (unreachable,) = await ledger.rows(is_unreachable=True)
    assert (unreachable["channel"], unreachable["state"]) == ("sms", "failed")
    assert unreachable["id"] != message


async def test_a_cancelling_keeps_its_facts_on_the_next_channel(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, doctor = await world.patient(user={"mobile_no": "+1 555 0100"}), await world.doctor()
    appointment = await book(api, world, patient, ahead(72), doctor)
    await api.post(f"/appointments/{appointment}/cancel", headers=doctor.headers)
    await ledger.send(failing(GONE))
    carrier = Carrier()
    await ledger.send(carrier, Channel.SMS)
    assert [(row.kind, row.data, row.told_revision) for row in carrier.carried] == [(CANCELLED, '{"by": "clinic"}', 1)]


async def test_there_is_no_waiting_beyond_what_it_is_for(api: httpx.AsyncClient, world: World, ledger: Ledger):
    """A reminder goes on to the next channel while there is time, and none is sent after the visit began."""
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    await book(api, world, patient, ahead(72))
    (reminder,) = await ledger.rows(lead_minutes=120)
    await ledger.make_due(reminder["id"])
    await ledger.set(reminder["id"], expires_at="now() + interval '10 minutes'")
    await ledger.send(failing(NotNow("later", retry_after=1200)))
    on_email, on_sms = await ledger.rows(lead_minutes=120)
    assert (on_email["state"], on_sms["channel"], on_sms["state"]) == ("failed", "sms", "queued")
    assert (on_sms["lead_minutes"], on_sms["expires_at"]) == (120, on_email["expires_at"])
    await ledger.set(on_sms["id"], expires_at="now()")
    carrier = Carrier()
    await ledger.send(carrier, Channel.SMS)
    assert carrier.sent() == []
    assert (await ledger.row(on_sms["id"]))["last_error"] == "too late"


async def test_of_a_crash_of_our_own_only_the_place_is_told(
    api: httpx.AsyncClient, world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    message = await told(api, world, ledger, "+1 555 0100")
    before, written = structlog.get_config(), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    middleware.configure_logging("info", as_text=False)
    monkeypatch.setattr(sending, "log", structlog.get_logger("health_services.messages"))
    try:
        await ledger.send(failing(ValueError("Dear Carla Jones")))
    finally:
        structlog.configure(**before)
    row = await ledger.row(message)
    assert (row["state"], row["last_error"]) == ("queued", "an error of our own (ValueError)")
    (line,) = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (line["level"], line["notification"], line["error"]) == ("error", message, "ValueError")
    assert any("sender.py" in frame for frame in line["frames"])
    assert "Carla" not in written.getvalue()


async def test_a_claim_ends_and_what_was_sent_stays_sent(api: httpx.AsyncClient, world: World, ledger: Ledger):
    """A worker that was slower than its claim: the next one has the message, and what the first finds out late."""
    message = await told(api, world, ledger, "+1 555 0100")
    (slow,) = await ledger.sender(Carrier()).take(5)
    assert await ledger.send(Carrier()) == 0
    await ledger.set(message, next_attempt_at="now()")
    (second,) = await ledger.sender(Carrier()).take(5)
    await ledger.sender(failing(GONE)).carry_out(slow)
    row = await ledger.row(message)
    assert (row["state"], row["attempts"]) == ("queued", 2)
    late = Carrier()
    await ledger.sender(late).carry_out(slow)
    assert late.sent() == [], "it is somebody else's now"
    await ledger.sender(Carrier()).carry_out(second)
    await ledger.sender(failing(GONE)).carry_out(second)
    assert (await ledger.row(message))["state"] == "sent"
    assert len(await ledger.rows(kind=BOOKED)) == 1


async def test_a_message_that_ends_every_worker_is_given_up(api: httpx.AsyncClient, world: World, ledger: Ledger):
    message = await told(api, world, ledger)
    await ledger.set(message, attempts=str(ATTEMPTS))
    carrier = Carrier()
    await ledger.send(carrier)
    row = await ledger.row(message)
    assert (row["state"], row["last_error"]) == ("failed", "the worker ended in every attempt")
    assert carrier.sent() == []


async def test_two_workers_share_the_work(api: httpx.AsyncClient, world: World, ledger: Ledger):
    for _ in range(12):
        await told(api, world, ledger)
    lanes = [ledger.sender(Carrier()) for _ in range(4)]
    taken = await asyncio.gather(*(lane.take(5) for lane in lanes))
    ids = [row.id for rows in taken for row in rows]
    assert len(ids) == len(set(ids)) == 12


async def test_a_worker_sends_what_comes_due_until_it_is_stopped(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    """One message hangs, the others do not wait for it; when told to stop, the worker finishes it."""
    release = asyncio.Event()
    hanging = await told(api, world, ledger)

    class Slow(Carrier):
        async def carry(self, row: AnyRow) -> None:
            if row.id == hanging:
                await release.wait()
            await super().carry(row)

    carrier = Slow()
    worker = Worker([Lane("email", ledger.sender(carrier), 2)], poll_seconds=0.05)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(60):
        for count in (1, 2, 3):
            await told(api, world, ledger)
            while len(carrier.carried) < count:
                await asyncio.sleep(0.01)
        worker.stop()
        release.set()
        await running
    assert [row["state"] for row in await ledger.rows(kind=BOOKED)] == ["sent"] * 4
    assert {row["state"] for row in await ledger.rows(kind=REMINDER)} == {"queued"}


async def test_who_changes_his_mind_in_between_is_told_where_he_wants_it(
    api: httpx.AsyncClient, world: World, ledger: Ledger
):
    patient = await world.patient(user={"mobile_no": "+1 555 0100"})
    await prefer(api, patient, channels={BOOKED: ["email"]})
    await book(api, world, patient, ahead(72))
    await prefer(api, patient, channels={BOOKED: ["sms"]})
    await ledger.send(failing(GONE))
    assert await ledger.states(kind=BOOKED) == [(BOOKED, None, "email", "skipped"), (BOOKED, None, "sms", "queued")]
