"""The ledger: what the application's role cannot do to it, whatever its code or somebody with psql tries."""

import asyncpg
import pytest

from health_services.notifications.models import Channel, Kind
from health_services.notifications.planning import Message
from tests.factories import World, soon

INSERT = """INSERT INTO notifications (kind, channel, user_id, subject, revision, lead_minutes, due_at, next_attempt_at)
            VALUES ($1, $2, $3, $4, $5, $6, now(), now()) RETURNING dedupe_key"""
CHANGE = "UPDATE notifications SET state = $1"


@pytest.mark.parametrize("lead", [None, 0, 1440])
async def test_the_key_of_a_message_is_made_by_the_database(
    world: World, as_worker: asyncpg.Connection, lead: int | None
):
    user_id = (await world.user()).user_id
    kind, channel, subject = Kind.APPOINTMENT_REMINDER, Channel.SMS, "appointment:7"
    planned = Message(kind, channel, user_id, subject, revision=3, due_at=soon(), lead_minutes=lead)
    values = (kind, channel, user_id, subject, 3, lead)
    assert await as_worker.fetchval(INSERT, *values) == planned.dedupe_key
    with pytest.raises(asyncpg.UniqueViolationError):
        await as_worker.fetchval(INSERT, *values)


async def test_nobody_gives_a_message_another_key(world: World, as_worker: asyncpg.Connection):
    user_id = (await world.user()).user_id
    forged = INSERT.replace("(kind,", "(dedupe_key, kind,").replace("($1,", "('another', $1,")
    with pytest.raises(asyncpg.PostgresError):
        await as_worker.fetchval(forged, "security_notice", "email", user_id, "x", 0, None)
    await as_worker.fetchval(INSERT, "security_notice", "email", user_id, "x", 0, None)
    for column in ("dedupe_key = 'another'", "kind = 'password_reset'", "subject = 'y'", "revision = 1"):
        with pytest.raises(asyncpg.PostgresError):
            await as_worker.execute(f"UPDATE notifications SET {column}")
    assert await as_worker.fetchval("SELECT count(*) FROM notifications") == 1


@pytest.mark.parametrize("state", ["queued", "failed", "skipped"])
async def test_what_is_sent_stays_sent(world: World, as_worker: asyncpg.Connection, state: str):
    user_id = (await world.user()).user_id
    await as_worker.fetchval(INSERT, "security_notice", "email", user_id, "x", 0, None)
    for allowed in ("failed", "queued", "skipped", "queued", "sent", "sent"):
        await as_worker.execute(CHANGE, allowed)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await as_worker.execute(CHANGE, state)
    assert refused.value.constraint_name == "ck_notifications_sent"
    assert await as_worker.fetchval("SELECT state FROM notifications") == "sent"


async def test_a_message_about_an_appointment_says_so_in_its_key(world: World, as_worker: asyncpg.Connection):
    """Another subject would be another key, and so the same message a second time."""
    patient, doctor = await world.patient(), await world.doctor()
    appointment = await world.appointment(patient, doctor)
    about = INSERT.replace("(kind,", "(appointment_id, kind,").replace("($1,", f"({appointment}, $1,")
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await as_worker.fetchval(about, "appointment_booked", "email", patient.user_id, "visit", 0, None)
    assert refused.value.constraint_name == "ck_notifications_subject"
    await as_worker.fetchval(
        about, "appointment_booked", "email", patient.user_id, f"appointment:{appointment}", 0, None
    )
