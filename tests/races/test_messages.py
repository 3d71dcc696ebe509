"""Messages under kill -9 and under load: at least once after a crash, else exactly once, never for what is not true."""

import random
import signal
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from health_services.access.service import act_as
from health_services.access.trail import Trail
from health_services.appointments import service as appointments
from health_services.appointments.schemas import AppointmentCreate
from health_services.database import embedded
from health_services.database.postponed import write_all
from health_services.main import create_app
from health_services.notifications.repository import NotificationRepository
from health_services.webhooks.repository import DeliveryRepository
from tests.conftest import test_settings
from tests.factories import Person, World, booking
from tests.races.guards import gate, held_up
from tests.races.message_post import (
    Post,
    create_message_database,
    cut_off,
    listen_for_bookings,
    open_post,
    opened,
    remind,
    settled,
    taken_over,
    until,
)
from tests.races.message_worker import (
    Fault,
    deciding_by_its_clock,
    doomed,
    ending,
    sound,
    unguarded,
    with_false_clock,
    with_short_claims,
)
from tests.races.servers import SECRET
from tests.races.test_commit import failing_commit
from tests.servers import TestDatabase

KILLED = -signal.SIGKILL
LEDGER = "SELECT kind, state, attempts, dedupe_key FROM notifications WHERE due_at <= now() ORDER BY id"
COUNTED = "SELECT state, count(*) FROM notifications GROUP BY 1"
BY_CHANNEL = "SELECT channel, state, is_unreachable, count(*) FROM notifications GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
WRITTEN = "SELECT count(*) FROM notifications WHERE kind = 'appointment_booked'"
# What one worker may have claimed and not finished when it dies.
UNDER_WAY = 16


@pytest.fixture(scope="session")
async def database(cluster: embedded.Cluster) -> TestDatabase:
    """A database of its own."""
    return await create_message_database(cluster)


@pytest.fixture
async def api(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that sends no messages itself."""
    app = create_app(test_settings(database.app_url))
    transport = httpx.ASGITransport(app)
    base_url = "http://test/api/v1"
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url=base_url) as client:
        yield client


@pytest.fixture
async def post(database: TestDatabase, owner: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Post]:
    """Gateways, and workers that use them."""
    async with open_post(database, tmp_path) as opened:
        yield opened


async def book(api: httpx.AsyncClient, world: World) -> Person:
    """The patient who has booked."""
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor))
    assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201
    return patient


# Where a worker dies, and how often the message is on the wire in the end.
MAIL_STEPS: dict[str, tuple[Fault, int]] = {
    "before the claim": (partial(ending, NotificationRepository, "take", is_done=False), 1),
    "after the claim": (partial(ending, NotificationRepository, "take", is_done=True), 1),
    "before the answer is read": (doomed, 2),
    "after the answer": (partial(ending, NotificationRepository, "mark_sent", is_done=False), 2),
    "after the mark": (partial(ending, NotificationRepository, "mark_sent", is_done=True), 1),
}


@pytest.mark.parametrize("step", MAIL_STEPS)
async def test_a_mail_outlives_its_worker(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World, post: Post, step: str
):
    fault, times = MAIL_STEPS[step]
    patient = await book(api, world)
    first = post.worker(fault)
    if fault is doomed:
        post.mail.blow = first.kill
    assert await first.ended() == KILLED
    (before,) = await owner.fetch(LEDGER)
    assert (before["state"], before["attempts"]) == {
        "before the claim": ("queued", 0),
        "after the mark": ("sent", 1),
    }.get(step, ("queued", 1))

    await taken_over(post, owner)
    letters = post.letters_to(patient)
    assert len(letters) == len(post.letters) == times
    assert len({letter["Message-ID"] for letter in letters}) == 1
    (after,) = await owner.fetch(LEDGER)
    claims = 1 if step in {"before the claim", "after the mark"} else 2
    assert dict(after) == dict(before) | {"state": "sent", "attempts": claims}


EVENT_STEPS: dict[str, tuple[Fault, int]] = {
    "before the claim": (partial(ending, DeliveryRepository, "claim", is_done=False), 1),
    "after the claim": (partial(ending, DeliveryRepository, "claim", is_done=True), 1),
    "before the answer is read": (doomed, 2),
    "after the answer": (partial(ending, DeliveryRepository, "succeed", is_done=False), 2),
    "after the mark": (partial(ending, DeliveryRepository, "succeed", is_done=True), 1),
}


@pytest.mark.parametrize("step", EVENT_STEPS)
async def test_an_event_outlives_its_worker(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World, post: Post, step: str
):
    fault, times = EVENT_STEPS[step]
    await listen_for_bookings(post, owner, SECRET.encode())
    await book(api, world)
    first = post.worker(fault)
    if fault is doomed:
        post.hooks.blow = first.kill
    assert await first.ended() == KILLED
    expected = {"before the claim": ("queued", 0), "after the mark": ("sent", 1)}.get(step, ("queued", 1))
    assert await owner.fetch("SELECT state, attempts FROM webhook_deliveries") == [expected]

    await taken_over(post, owner)
    (row,) = await owner.fetch("SELECT state, 'msg_' || replace(message_id::text, '-', '') FROM webhook_deliveries")
    assert row[0] == "sent"
    assert post.events == [row[1]] * times


class GivenUpError(Exception):
    """Whoever books thinks better of it."""


@pytest.mark.parametrize("ending", ["given up", "cut off", "refused at its commit", "committed"])
async def test_what_was_rolled_back_is_never_told(
    database: TestDatabase, owner: asyncpg.Connection, world: World, post: Post, ending: str
):
    """The worker looks while the booking's messages are written but not committed, and again afterwards."""
    doctor, patient, bystander = await world.doctor(), await world.patient(), await world.patient()
    request = AppointmentCreate(**booking(patient, doctor, await world.slot(doctor)))
    webhook = await listen_for_bookings(post, owner, SECRET.encode())
    await post.worker().ready()
    refusing = failing_commit(owner, "XX000") if ending == "refused at its commit" else nullcontext()
    outcome = nullcontext() if ending == "committed" else pytest.raises((GivenUpError, DBAPIError))
    async with refusing, opened(database) as store:
        with outcome:
            async with store.writing() as session, session.begin():
                caller = await act_as(session, patient.user_id, None, Trail())
                await appointments.book(session, caller, request, datetime.now(UTC))
                assert (await write_all(session), await session.scalar(text(WRITTEN))) == ({}, 1)
                await post.tell(owner, bystander, webhook)
                if ending == "given up":
                    raise GivenUpError
                if ending == "cut off":
                    await cut_off(database, await session.scalar(text("SELECT pg_backend_pid()")))
        if ending == "committed":
            await until(lambda: post.mails[patient.email] == 1 and len(post.events) == 2)
    await post.tell(owner, bystander, webhook)
    is_true = ending == "committed"
    assert post.mails == {bystander.email: 2} | ({patient.email: 1} if is_true else {})
    assert len(post.events) == (3 if is_true else 2)
    assert await owner.fetchval("SELECT count(*) FROM appointments") == is_true


async def test_a_storm_of_kills_loses_nothing(owner: asyncpg.Connection, world: World, post: Post):
    """Workers die in the middle of their work; what repeats is what they had under way, and is the same mail."""
    people, dice = await world.patients(150), random.Random(7)
    await remind(world, people)
    for _ in range(3):
        post.mail.patience = dice.randrange(15, 35)
        victim = post.worker(with_short_claims)
        post.mail.blow = victim.kill
        assert await victim.ended() == KILLED
    assert 45 <= len(post.mail.arrived) < 150
    await post.worker().ready()
    await settled(owner)
    assert set(post.mails) == {person.email for person in people}
    assert len({letter["Message-ID"] for letter in post.letters}) == 150
    assert post.mails.total() - 150 <= 3 * UNDER_WAY
    assert await owner.fetch(COUNTED) == [("sent", 150)]


async def test_a_worker_that_stood_still_begins_nothing_that_another_may_have(
    owner: asyncpg.Connection, world: World, post: Post
):
    """It has claimed two and sends one, when it is frozen until another has done its work."""
    people = await world.patients(2)
    frozen = await post.worker(with_short_claims, concurrency=1).ready()
    post.mail.blow = frozen.freeze
    await remind(world, people)
    await until(lambda: len(post.mail.arrived) == 1)
    assert all(row["attempts"] for row in await owner.fetch(LEDGER))
    await post.worker().ready()
    await settled(owner)
    frozen.thaw()
    await frozen.stop()
    assert sorted(post.mails[person.email] for person in people) == [1, 2]
    assert await owner.fetch(COUNTED) == [("sent", 2)]


@pytest.mark.parametrize("is_guarded", [True, False])
@pytest.mark.parametrize("count", [2, 4])
async def test_workers_side_by_side_send_each_message_once(
    owner: asyncpg.Connection, world: World, post: Post, count: int, is_guarded: bool
):
    people = await world.patients(200)
    workers = [await post.worker(sound if is_guarded else unguarded).ready() for _ in range(count)]
    watcher = await asyncpg.connect(post.database.admin_url)
    # all begin to claim before one of them has claimed anything: they wait at the gate, or for whoever does
    async with gate(owner, watcher, "BEFORE UPDATE OF attempts ON notifications FOR EACH ROW"):
        await remind(world, people)
        await held_up(watcher, count)
        await watcher.execute("SELECT pg_advisory_unlock_all()")
        await settled(owner)
        for worker in workers:
            await worker.stop()
    await watcher.close()
    assert set(post.mails) == {person.email for person in people}
    assert await owner.fetch(COUNTED) == [("sent", 200)]
    assert (post.mails.total() == 200) is is_guarded
    assert (await owner.fetchval("SELECT max(attempts) FROM notifications") == 1) is is_guarded


@pytest.mark.parametrize("decides_by_it", [False, True])
async def test_a_workers_clock_may_jump(owner: asyncpg.Connection, world: World, post: Post, decides_by_it: bool):
    first, second, third, put_off, later = await world.patients(5)
    post.mail.at_recipient[put_off.email] = "450 later"
    worker = await post.worker(deciding_by_its_clock if decides_by_it else with_false_clock).ready()
    await remind(world, [later], due="now() + interval '1 day'")
    for person, days in ((first, 3), (second, -3), (third, 0)):
        worker.turn_clock(timedelta(days=days))
        if decides_by_it:
            await post.mailed(later)
            return
        await remind(world, [person, *([put_off] if person is first else [])])
        await post.mailed(person)
    assert post.mails == {first.email: 1, second.email: 1, third.email: 1}
    errors = [parsedate_to_datetime(letter["Date"]) - datetime.now(UTC) for letter in post.letters]
    assert [round(error / timedelta(days=1)) for error in errors] == [3, -3, 0]
    pause = await owner.fetchrow("SELECT next_attempt_at - due_at FROM notifications WHERE last_error IS NOT NULL")
    assert timedelta(seconds=8) <= pause[0] <= timedelta(seconds=60)


async def test_refused_addresses_hold_up_nobody(owner: asyncpg.Connection, world: World, post: Post):
    """Of 400 reminders four are refused; half of those people have a mobile phone, the others must be called."""
    people = await world.patients(400)
    with_phone, without = people[5::200], people[105::200]
    await owner.executemany(
        "UPDATE users SET mobile_no = $2 WHERE id = $1",
        [(person.user_id, f"+44790000{n:04}") for n, person in enumerate(with_phone)],
    )
    refused = {person.email for person in with_phone + without}
    post.mail.at_recipient.update(dict.fromkeys(refused, "550 no such user"))
    await post.worker().ready()
    await remind(world, people)
    await settled(owner)
    assert post.mails == dict.fromkeys({person.email for person in people} - refused, 1)
    assert sorted(parse_qs(sms.body.decode())["To"][0] for sms in post.sms_server.received) == [
        f"+44790000{n:04}" for n in range(2)
    ]
    assert await owner.fetch(BY_CHANNEL) == [
        ("email", "failed", False, 2),
        ("email", "failed", True, 2),
        ("email", "sent", False, 396),
        ("sms", "sent", False, 2),
    ]
    unreachable = await owner.fetch("SELECT user_id FROM notifications WHERE is_unreachable ORDER BY user_id")
    assert [row["user_id"] for row in unreachable] == sorted(person.user_id for person in without)
