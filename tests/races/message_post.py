"""A post office for tests of the worker: gateways on loopback, workers that use them, rows of the ledger to send."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import asyncpg
from aiohttp import web
from pydantic import SecretStr

from health_services.database import embedded
from health_services.database.engine import Database
from health_services.database.key_file import vault_for
from health_services.webhooks import signing
from tests.conftest import test_settings
from tests.factories import Person, World, soon
from tests.outgoing.servers import Server, serving
from tests.outgoing.smtp_servers import Desk, smtp_server
from tests.races.message_worker import PATIENCE_SECONDS, Fault, WorkerProcess, sound
from tests.servers import TestDatabase, create_database

DAY_FULL = 1000
NOTICE = """INSERT INTO notifications (kind, channel, user_id, subject, due_at, next_attempt_at)
            VALUES ('security_notice', 'email', $1, $2, now(), now())"""
EVENT = "INSERT INTO webhook_deliveries (webhook_id, event, subject, body) VALUES ($1, 'slot.created', $2, '{}')"


async def create_message_database(cluster: embedded.Cluster) -> TestDatabase:
    """A database in which no other test's servers send messages."""
    return await create_database(cluster, f"messages_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")


@dataclass
class StrikingDesk(Desk):
    """A mail server that strikes a worker when it has taken so many messages, before it says so."""

    blow: Callable[[], None] | None = None
    patience: int = 0

    async def handle_DATA(self, *args: Any) -> str:  # noqa: N802 - aiosmtpd's name
        answer = await super().handle_DATA(*args)
        self.strike()
        return answer

    def strike(self) -> None:
        """One message more; the last is met with the blow."""
        self.patience -= 1
        if self.blow is not None and self.patience <= 0:
            self.blow()
            self.blow = None


@dataclass
class Post:
    """Mail, SMS and webhooks arrive here; `workers` are all that were started."""

    database: TestDatabase
    data_dir: Path
    mail: StrikingDesk = field(default_factory=StrikingDesk)
    hooks: StrikingDesk = field(default_factory=StrikingDesk)
    sms_server: Server = field(default_factory=lambda: Server(0))
    hook_server: Server = field(default_factory=lambda: Server(0))
    workers: list[WorkerProcess] = field(default_factory=list)

    def worker(self, fault: Fault = sound, *, concurrency: int = 8) -> WorkerProcess:
        """Start one more worker process."""
        settings = test_settings(self.database.app_url).model_copy(
            update={
                "smtp_url": SecretStr(f"smtp://127.0.0.1:{self.mail.port}"),
                "sms_url": SecretStr(f"{self.sms_server.url}/messages"),
                "sms_from": "+15550100",
                "mail_from": "no-reply@clinic.example.org",
                "webhook_allow_private": True,
                "worker_poll_seconds": 0.05,
                "worker_concurrency": concurrency,
                "data_dir": self.data_dir,
            }
        )
        self.workers.append(WorkerProcess(settings, self.database.owner_url, fault))
        return self.workers[-1]

    @property
    def letters(self) -> list[Message]:
        """The mails as they arrived."""
        return [message_from_bytes(arrived.content) for arrived in self.mail.arrived]

    def letters_to(self, person: Person) -> list[Message]:
        return [letter for letter in self.letters if letter["To"] == person.email]

    @property
    def mails(self) -> Counter[str]:
        """How many mails each address was sent."""
        return Counter(address for arrived in self.mail.arrived for address in arrived.recipients)

    @property
    def events(self) -> list[str]:
        """The `webhook-id` of each request, in the order in which they came."""
        return [received.headers["webhook-id"] for received in self.hook_server.received]

    async def mailed(self, person: Person) -> None:
        """Return when the person was sent a mail."""
        await until(lambda: self.mails[person.email] > 0)

    async def tell(self, owner: asyncpg.Connection, person: Person, webhook: int) -> None:
        """Send something else by mail and to the webhook; return when both have come, for the worker looked then."""
        mails, events = self.mails[person.email], len(self.events)
        async with owner.transaction():
            await owner.execute(NOTICE, person.user_id, f"notice:{events}")
            await owner.execute(EVENT, webhook, f"notice:{events}")
        await until(lambda: self.mails[person.email] > mails and len(self.events) > events)


@asynccontextmanager
async def open_post(database: TestDatabase, data_dir: Path) -> AsyncIterator[Post]:
    """Gateways for as long as the block lasts; at its end no worker is left."""
    post = Post(database, data_dir)

    async def take_event(_: web.Request) -> web.StreamResponse:
        post.hooks.strike()
        return web.Response()

    async def take_sms(_: web.Request) -> web.StreamResponse:
        return web.json_response({"sid": "SM1"}, status=201)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(smtp_server(post.mail))
        post.hook_server = await stack.enter_async_context(serving(take_event))
        post.sms_server = await stack.enter_async_context(serving(take_sms))
        try:
            yield post
            for worker in post.workers:
                await worker.stop()
        finally:
            for worker in post.workers:
                worker.kill()


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def settled(owner: asyncpg.Connection) -> None:
    """Return when nothing waits that is due, in the ledger or for webhooks."""
    waiting = """SELECT count(*) FROM (
        SELECT next_attempt_at FROM notifications WHERE state = 'queued'
        UNION ALL SELECT next_attempt_at FROM webhook_deliveries WHERE state = 'queued') AS w
        WHERE next_attempt_at < now() + interval '5 minutes'"""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await owner.fetchval(waiting):
            await asyncio.sleep(0.02)


async def taken_over(post: "Post", owner: asyncpg.Connection) -> None:
    """Let what dead workers have claimed be due, and return when a new one has sent it."""
    for table in ("notifications", "webhook_deliveries"):
        await owner.execute(f"UPDATE {table} SET next_attempt_at = now() WHERE state = 'queued' AND attempts > 0")
    await owner.execute("UPDATE webhooks SET held_until = now() WHERE held_until > now()")
    await post.worker().ready()
    await settled(owner)


async def remind(world: World, people: Sequence[Person], due: str = "now()") -> None:
    """A reminder by mail for each patient, due at that SQL time, of a visit on one of the next days."""
    doctor = await world.doctor(max_patients_per_day=DAY_FULL)
    for n, first in enumerate(range(0, len(people), DAY_FULL)):
        slot = await world.slot(doctor, soon().replace(day=1, month=1, year=2100 + n), capacity=DAY_FULL)
        some = [person.patient_id for person in people[first : first + DAY_FULL]]
        await world.owner.execute(
            f"""WITH visits AS (
                    INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id, is_agreed)
                    SELECT unnest($1::bigint[]), $2, $3, $4, true RETURNING id, patient_id, slot_id)
                INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, lead_minutes, starts_at,
                                           expires_at, due_at, next_attempt_at)
                SELECT 'appointment_reminder', 'email', p.user_id, v.id, 'appointment:' || v.id, 1440,
                       s.slot_datetime, s.slot_datetime, {due}, {due}
                FROM visits v JOIN patients p ON p.id = v.patient_id JOIN appointment_slots s ON s.id = $4""",
            *(some, doctor.doctor_id, doctor.clinic_id, slot),
        )


async def listen_for_bookings(post: Post, owner: asyncpg.Connection, server_secret: bytes) -> int:
    """A webhook's id that is told of bookings."""
    secret = signing.seal(signing.new_secret(), server_secret)
    return int(
        await owner.fetchval(
            "INSERT INTO webhooks (url, events, secret) VALUES ($1, '{appointment.booked}', $2) RETURNING id",
            *(f"{post.hook_server.url}/", secret),
        )
    )


@asynccontextmanager
async def opened(database: TestDatabase) -> AsyncIterator[Database]:
    """One connection with the application's rights."""
    vault = vault_for(test_settings(database.app_url))
    store = Database.connect(database.app_url, role=None, pool_size=1, pool_timeout=60, timeouts={}, vault=vault)
    try:
        yield store
    finally:
        await store.close()


async def cut_off(database: TestDatabase, backend: int) -> None:
    """End a connection from the database's side."""
    admin = await asyncpg.connect(database.admin_url)
    await admin.execute("SELECT pg_terminate_backend($1)", backend)
    await admin.close()
