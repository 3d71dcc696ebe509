"""What is old is forgotten, what is young is kept, and what was left of the erased is found."""

import asyncio
import os
from dataclasses import dataclass, field
from datetime import timedelta
from email.headerregistry import Address
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.lanes import open_worker
from health_services.notifications.carriers import MailCarrier, Voice
from health_services.outgoing.mail import MailFolder
from health_services.privacy import retention
from health_services.privacy.retention import Chore, Periods, Retention
from health_services.worker import run_until
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.factories import World, soon
from tests.notifications.ledger import Ledger, book
from tests.privacy.seeding import insert, seed, traces, vault_of
from tests.servers import TestDatabase

DAY = 86_400
PERIODS = Periods(messages=timedelta(days=30), deliveries=timedelta(days=20), sessions=timedelta(days=10))


@dataclass
class Clock:
    """A clock that the test sets; in seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Keeper:
    """A worker's lane of retention, and its clock."""

    lane: Retention
    clock: Clock = field(default_factory=Clock)

    async def work(self) -> list[Chore]:
        """Do what is due, in the order in which it is taken."""
        done = []
        while jobs := await self.lane.take(2):
            for job in jobs:
                await self.lane.carry_out(job)
                done.append(job)
        return done


@pytest.fixture
def keeper(app: FastAPI, owner: asyncpg.Connection, tmp_path: Path) -> Keeper:
    clock = Clock()
    return Keeper(Retention(app.state.worker_database, PERIODS, tmp_path / "mail", clock), clock)


async def aged(owner: asyncpg.Connection, world: World, days: list[int]) -> None:
    """One of everything that grows old, so many days ago each."""
    user = (await world.patient()).user_id
    await owner.execute("DELETE FROM sessions")
    webhook = await owner.fetchval(
        "INSERT INTO webhooks (url, events, secret) VALUES ('https://x.example', '{}', '') RETURNING id"
    )
    for day in days:
        for query in (
            """INSERT INTO sessions (user_id, client, expires_at, ended_at, ended_reason)
               VALUES ($1, 'ended ' || $3, now() + interval '1 year', now() - $2::interval, 'logout')""",
            """INSERT INTO sessions (user_id, client, expires_at)
               VALUES ($1, 'expired ' || $3, now() - $2::interval)""",
            """INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at)
               VALUES ($3::text::bytea, 'mfa', $1, now() - $2::interval)""",
            """INSERT INTO idempotency_keys (user_id, key_hash, request_hash, status, answer, created_at)
               VALUES ($1, $3::text::bytea, '', 200, '', now() - $2::interval)""",
            """INSERT INTO notifications (kind, channel, user_id, subject, data, state, due_at, next_attempt_at,
                                          created_at)
               VALUES ('security_notice', 'email', $1, $3::text, '{"about": "x"}', 'sent', now(), now(),
                       now() - $2::interval)""",
        ):
            await owner.execute(query, user, timedelta(days=day), str(day))
        for state in ("sent", "queued"):
            await owner.execute(
                """INSERT INTO webhook_deliveries (webhook_id, event, subject, body, state, next_attempt_at, created_at)
                   VALUES ($1, 'slot.created', $4 || $2::text, 'said', $2, now() - $3::interval,
                           now() - $3::interval)""",
                *(webhook, state, timedelta(days=day), str(day)),
            )


async def test_what_is_older_than_its_period_is_forgotten(keeper: Keeper, owner: asyncpg.Connection, world: World):
    await aged(owner, world, [0, 2, 9, 11, 19, 21, 29, 31])
    await keeper.work()

    async def found(query: str) -> list[int]:
        return sorted(int(row[0]) for row in await owner.fetch(query))

    assert await found("SELECT split_part(client, ' ', 2) FROM sessions WHERE client LIKE 'ended%'") == [0, 2, 9]
    assert await found("SELECT split_part(client, ' ', 2) FROM sessions WHERE client LIKE 'expired%'") == [0, 2, 9]
    assert await found("SELECT convert_from(token_hash, 'UTF8') FROM one_time_tokens") == [0]
    assert await found("SELECT convert_from(key_hash, 'UTF8') FROM idempotency_keys") == [0]
    kept = "SELECT subject FROM notifications WHERE data <> '{}'"
    assert await found(kept) == [0, 2, 9, 11, 19, 21, 29]
    assert await owner.fetchval("SELECT count(*) FROM notifications") == 8
    kept = "SELECT replace(subject, state, '') FROM webhook_deliveries WHERE body <> '' AND state = "
    assert await found(f"{kept} 'sent'") == [0, 2, 9, 11, 19]
    assert await found(f"{kept} 'queued'") == [0, 2, 9, 11, 19]
    dropped = await owner.fetch("SELECT body, last_error FROM webhook_deliveries WHERE state = 'skipped'")
    assert [tuple(row) for row in dropped] == [("", "it waited too long")] * 3


async def test_a_session_takes_its_refresh_tokens_along(keeper: Keeper, owner: asyncpg.Connection, world: World):
    patient = await world.patient()
    session = await owner.fetchval("SELECT id FROM sessions")
    query = "INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at) VALUES ('x', $1, $2, now())"
    await owner.execute(query, session, patient.user_id)
    await keeper.work()
    assert await owner.fetchval("SELECT count(*) FROM refresh_tokens") == 1
    await owner.execute("UPDATE sessions SET ended_at = now() - interval '11 days', ended_reason = 'logout'")
    keeper.clock.now += retention.HOUR
    await keeper.work()
    assert await owner.fetchval("SELECT count(*) FROM refresh_tokens") == 0


async def test_much_is_forgotten_in_pieces(
    keeper: Keeper, owner: asyncpg.Connection, world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    await aged(owner, world, list(range(40, 48)))
    done = await keeper.work()
    assert done.count(Chore.ANSWERS) == done.count(Chore.MESSAGES) == 3
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_it_waits_for_nobody(keeper: Keeper, owner: asyncpg.Connection, as_app: asyncpg.Connection, world: World):
    await aged(owner, world, [40, 41])
    async with owner.transaction():
        await owner.execute("SELECT FROM sessions WHERE client = 'ended 40' FOR UPDATE")
        await keeper.work()
    assert await owner.fetchval("SELECT array_agg(client) FROM sessions") == ["ended 40"]
    keeper.clock.now += retention.HOUR
    await keeper.work()
    assert await owner.fetchval("SELECT count(*) FROM sessions") == 0


async def test_chores_come_again_after_an_hour_and_look_at_the_just_erased_each_minute(keeper: Keeper):
    assert set(await keeper.work()) == set(Chore)
    assert await keeper.lane.next_due() == timedelta(seconds=retention.MINUTE)
    keeper.clock.now += retention.MINUTE
    assert await keeper.work() == [Chore.JUST_ERASED]
    keeper.clock.now = retention.HOUR
    assert set(await keeper.work()) == set(Chore)


async def test_a_chore_that_failed_is_tried_again_after_a_minute(keeper: Keeper):
    taken = await keeper.lane.take(100)
    assert set(taken) == set(Chore)
    assert await keeper.lane.take(100) == []
    keeper.clock.now += retention.MINUTE
    assert set(await keeper.lane.take(100)) == set(Chore)


async def test_old_mails_are_removed(keeper: Keeper, tmp_path: Path):
    folder = tmp_path / "mail"
    await keeper.work()  # there is no folder yet
    folder.mkdir()
    for name, days in (("1.a@x.eml", 31), ("2.b@x.eml", 29), ("test@x.eml", 31), (".half", 0), (".new", 0)):
        (folder / name).write_text("said")
        seconds = days * DAY + (2 * 3600 if name == ".half" else 0)
        then = (folder / name).stat().st_mtime - seconds
        os.utime(folder / name, (then, then))
    keeper.clock.now += retention.HOUR
    await keeper.work()
    assert {path.name for path in folder.iterdir()} == {"2.b@x.eml", ".new"}


async def test_nothing_in_the_data_directory_tells_of_the_erased(
    keeper: Keeper, api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World, tmp_path: Path
):
    zebra, giraffe = [await world.patient(user={"name": name}) for name in ("Zebra", "Giraffe")]
    for patient in (zebra, giraffe):
        await book(api, world, patient, soon() + timedelta(days=5))
    mailer = MailFolder(tmp_path / "mail", Address("", "no-reply", "example.org"))
    voice = Voice("en", app.state.links)
    sent = await Ledger(owner, app).send(MailCarrier(mailer, voice, "no-reply@example.org", vault_of(app)))  # type: ignore[arg-type]
    assert sent == len(list((tmp_path / "mail").iterdir())) == 2
    path = f"/patients/{zebra.patient_id}/erase"
    assert (await api.post(path, json={"reason": "File 2026/17"}, headers=zebra.headers)).status_code == 200
    await keeper.work()
    (left,) = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert "Giraffe" in left


async def test_what_came_in_meanwhile_is_forgotten_too(
    keeper: Keeper, api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    """A request that began before the erasure ended after it, and a mail was written."""
    zebra = await seed(owner, app, world, "ZEBRA")
    body = {"reason": "File 2026/17"}
    path = f"/patients/{zebra.person.patient_id}/erase"
    assert (await api.post(path, json=body, headers=zebra.person.headers)).status_code == 200
    await keeper.work()
    await insert(owner, app, "ZEBRA", "push_subscriptions", user_id=zebra.person.user_id)
    await insert(owner, app, "ZEBRA", "sessions", user_id=zebra.person.user_id, ended_reason=None)
    await owner.execute("UPDATE webhook_deliveries SET body = 'ZEBRA', state = 'sent'")
    before = await owner.fetchval("SELECT xmin FROM users WHERE id = $1", zebra.person.user_id)
    keeper.clock.now += retention.MINUTE
    await keeper.work()
    assert await traces(owner, app, "ZEBRA") == set()
    assert await owner.fetchval("SELECT xmin FROM users WHERE id = $1", zebra.person.user_id) == before


async def test_the_indexes_find_what_is_old(owner: asyncpg.Connection):
    """However much there is, looking for it costs the same."""
    await owner.execute("SET enable_seqscan = off")
    for table, condition, index in (
        ("sessions", "ended_at < now()", "ix_sessions_ended_at"),
        ("sessions", "ended_at IS NULL AND expires_at < now()", "ix_sessions_expires_at"),
        ("one_time_tokens", "expires_at < now()", "ix_one_time_tokens_expires_at"),
        ("idempotency_keys", "created_at < now()", "ix_idempotency_keys_created_at"),
        (
            "notifications",
            "data <> '{}'::jsonb AND state <> 'queued' AND created_at < now()",
            "ix_notifications_created_at_kept",
        ),
        (
            "webhook_deliveries",
            "body <> '' AND state <> 'queued' AND created_at < now()",
            "ix_webhook_deliveries_created_at_kept",
        ),
        (
            "webhook_deliveries",
            "body <> '' AND state <> 'queued' AND subject IN ('a', 'b')",
            "ix_webhook_deliveries_subject_kept",
        ),
    ):
        plan = await plan_with_one_index(owner, table, condition, index)
        assert index in plan, condition
        assert "Index Cond" in plan, condition


async def plan_with_one_index(owner: asyncpg.Connection, table: str, condition: str, index: str) -> str:
    """The plan where the table has no other index: on an empty table the planner takes any."""
    others = """SELECT indexrelid::regclass::text AS name FROM pg_index
                WHERE indrelid = $1::text::regclass AND NOT indisunique AND indexrelid <> $2::text::regclass"""
    trial = owner.transaction()
    await trial.start()
    for other in await owner.fetch(others, table, index):
        await owner.execute(f"DROP INDEX {other['name']}")
    plan = await owner.fetch(f"EXPLAIN SELECT FROM {table} WHERE {condition}")
    await trial.rollback()
    return "\n".join(row[0] for row in plan)


async def test_what_is_forgotten_cannot_be_sent_again(
    keeper: Keeper, api: httpx.AsyncClient, owner: asyncpg.Connection, world: World
):
    await aged(owner, world, [40])
    admin = await world.admin()
    webhook, delivery = await owner.fetchrow("SELECT webhook_id, id FROM webhook_deliveries WHERE state = 'sent'")
    await keeper.work()
    path = f"/webhooks/{webhook}/deliveries/{delivery}/redeliver"
    refusal(await api.post(path, headers=admin.headers), "CONFLICT")
    assert await owner.fetchval("SELECT state FROM webhook_deliveries WHERE id = $1", delivery) == "sent"


async def test_the_worker_does_it(database: TestDatabase, owner: asyncpg.Connection, world: World, tmp_path: Path):
    await aged(owner, world, [0, 40])
    changes = {"retention_session_days": 50, "retention_message_days": 5, "data_dir": tmp_path}
    stopped = asyncio.Event()
    async with open_worker(test_settings(database.app_url).model_copy(update=changes), None) as worker:
        running = asyncio.create_task(run_until(worker, stopped, grace_seconds=20))
        async with asyncio.timeout(60):
            while await owner.fetchval("SELECT count(*) FROM notifications WHERE data <> '{}'") > 1:
                await asyncio.sleep(0.02)
        stopped.set()
        await running
    # sessions, which have their turn before messages, are kept for longer here
    assert await owner.fetchval("SELECT count(*) FROM sessions") == 4
    assert await owner.fetchval("SELECT subject FROM notifications WHERE data <> '{}'") == "0"
