"""Sending what waits for webhooks: the worker's side.

A delivery is claimed for one attempt, sent without any lock or transaction, and its result is recorded. A worker that
dies in between leaves a claim that runs out: it is sent again, so a receiver may see a `webhook-id` twice.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.outgoing.errors import SendingFailed
from health_services.outgoing.http import NoAnswer, post
from health_services.webhooks import signing
from health_services.webhooks.repository import LEASE, DeliveryRepository, Room, WebhookRepository

# How long to wait after the first, second, … attempt that failed; there is one attempt more.
SCHEDULE = (
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
ATTEMPTS = len(SCHEDULE) + 1
JITTER = 0.1
LONGEST_RETRY_AFTER = timedelta(hours=24)
GONE = 410
# Where the receiver says that it has too much to do, it also says for how long.
THROTTLING = frozenset({429, 502, 503, 504})

# Longer than the attempts of one delivery last: of many that wait, each is seldom the one that is tried.
LONGEST_FAILING = timedelta(days=4)

GONE_REASON = "gone (410)"
EXHAUSTED_REASON = f"no success in {ATTEMPTS} attempts"
FAILING_REASON = f"no success in {LONGEST_FAILING.days} days"

# Is called in the transaction that gives up on a webhook, with `id`, `url` and `created_by_user_id` of the webhook and
# the delivery's id.
Announce = Callable[[AsyncSession, AnyRow, int], Awaitable[None]]


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One attempt of one delivery; the secrets are sealed."""

    id: int
    webhook_id: int
    message_id: UUID
    body: str
    attempt: int
    url: str
    secret: bytes
    previous_secret: bytes | None
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Received:
    """The receiver has it."""

    status: int


@dataclass(frozen=True, slots=True)
class Failure:
    """It has not; `error` is a few words of ours, `retry_after` in seconds where the receiver asked for a pause.

    `is_unanswered`: it was not reached, or did not answer in time.
    """

    error: str
    status: int | None = None
    retry_after: float | None = None
    is_unanswered: bool = False


class Deliveries:
    """The queue of one worker process, which runs `concurrency` jobs at once; any number of processes may have one.

    `per_endpoint`: so many attempts at most are under way to one webhook from this process, and fewer where that would
    be all of them, so that a receiver that hangs never holds up the others. Those that are known to fail have one each,
    and half of all together, or the only one. `jitter` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        session: aiohttp.ClientSession,
        secrets: Sequence[bytes],
        *,
        concurrency: int,
        announce: Announce,
        per_endpoint: int = 2,
        lease: timedelta = LEASE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._session = session
        self._secrets = secrets
        self._announce = announce
        self._per_endpoint = max(1, min(per_endpoint, concurrency - 1))
        self._most_probes = max(1, concurrency // 2)
        self._lease = lease
        self._jitter = jitter
        self._under_way: Counter[int] = Counter()
        self._probes = 0

    async def take(self, limit: int) -> list[Job]:
        """Claim up to `limit` deliveries that are due; each must be carried out. Not to be called twice at once."""
        async with self._database.reading() as session:
            rows = await DeliveryRepository(session).claim(limit, self._room(), lease=self._lease)
        jobs = [
            Job(
                id=row.id,
                webhook_id=row.webhook_id,
                message_id=row.message_id,
                body=row.body,
                attempt=row.attempts,
                url=row.url,
                secret=row.secret,
                previous_secret=row.previous_secret,
                is_probe=row.is_probe,
            )
            for row in rows
        ]
        self._under_way.update(job.webhook_id for job in jobs)
        self._probes += sum(job.is_probe for job in jobs)
        return jobs

    def _room(self) -> Room:
        busy = list(self._under_way.elements())
        return Room(self._per_endpoint, self._most_probes - self._probes, busy)

    async def carry_out(self, job: Job) -> None:
        """Send, and record what came of it; raises only what the database raises."""
        try:
            result = await self._send(job)
            if isinstance(result, Received):
                await self._succeed(job, result)
            else:
                await self._fail(job, result)
        finally:
            self._under_way -= Counter([job.webhook_id])
            self._probes -= job.is_probe

    async def next_due(self) -> timedelta | None:
        """How long until a delivery is due that can be taken as things are now; None while there is none.

        Negative for one that is due already. When a job ends, another may be due.
        """
        async with self._database.reading() as session:
            return await DeliveryRepository(session).next_due(self._room())

    async def _send(self, job: Job) -> Received | Failure:
        body = job.body.encode()
        try:
            headers = signing.headers(self._secrets_of(job), job.message_id, datetime.now(UTC), body)
            headers["content-type"] = "application/json"
            answer = await post(self._session, job.url, data=body, headers=headers)
        except signing.UnreadableSecretError:
            return Failure("the secret cannot be read any more; rotate it")
        except SendingFailed as refusal:
            return Failure(refusal.reason, is_unanswered=isinstance(refusal, NoAnswer))
        if answer.is_success:
            return Received(answer.status)
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        retry_after = answer.retry_after if answer.status in THROTTLING else None
        return Failure(f"answered {answer.status}{hint}", answer.status, retry_after)

    def _secrets_of(self, job: Job) -> list[str]:
        secrets = [signing.unseal(job.secret, self._secrets)]
        if job.previous_secret is not None:
            # the secret was perhaps replaced because this one could not be read any more
            with contextlib.suppress(signing.UnreadableSecretError):
                secrets.append(signing.unseal(job.previous_secret, self._secrets))
        return secrets

    async def _succeed(self, job: Job, result: Received) -> None:
        async with self._database.reading() as session:
            if await DeliveryRepository(session).succeed(job.id, job.attempt, result.status):
                await WebhookRepository(session).end_hold(job.webhook_id)

    async def _fail(self, job: Job, failure: Failure) -> None:
        async with self._database.writing() as session, session.begin():
            webhooks, deliveries = WebhookRepository(session), DeliveryRepository(session)
            await webhooks.get_for_update(job.webhook_id)  # the webhook before its deliveries, as everybody does
            if failure.status == GONE or job.attempt >= ATTEMPTS:
                is_ours = await deliveries.fail(job.id, job.attempt, failure.status, failure.error)
            else:
                delay = delay_after(job.attempt, failure.retry_after, self._jitter())
                is_ours = await deliveries.postpone(job.id, job.attempt, failure.status, failure.error, delay)
            reason = await self._judge(session, job, failure) if is_ours else None
            webhook = await webhooks.disable(job.webhook_id, reason) if reason else None
            if webhook is not None:
                await self._announce(session, webhook, job.id)

    async def _judge(self, session: AsyncSession, job: Job, failure: Failure) -> str | None:
        """What the failure says of the webhook: why to give it up; None to go on, perhaps after a while."""
        webhooks = WebhookRepository(session)
        if failure.status == GONE:
            return GONE_REASON
        if job.attempt >= ATTEMPTS:
            if not await DeliveryRepository(session).were_others_received(job.id):
                return EXHAUSTED_REASON
            await webhooks.end_hold(job.webhook_id)  # it was this message that failed, and it is out of the way
            return None
        lasted = await webhooks.hold(job.webhook_id, is_unanswered=failure.is_unanswered)
        return FAILING_REASON if lasted is not None and lasted >= LONGEST_FAILING else None


def delay_after(attempt: int, retry_after: float | None, jitter: float) -> timedelta:
    """How long to wait after this attempt: the schedule's time ± 10 %, or longer where the receiver asked for it.

    `retry_after` is in seconds, `jitter` from 0 to 1.
    """
    planned = SCHEDULE[attempt - 1] * (1 + JITTER * (2 * jitter - 1))
    asked = min(timedelta(seconds=retry_after or 0), LONGEST_RETRY_AFTER)
    return max(planned, asked)
