"""Sending what waits for webhooks: the worker's side.

A delivery is claimed for one attempt, sent without any lock or transaction, and its result is recorded. A worker that
dies in between leaves a claim that runs out: it is sent again, so a receiver may see a `webhook-id` twice.
"""

import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import aiohttp
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.outgoing.errors import SendingFailed
from health_services.outgoing.http import post
from health_services.webhooks import signing
from health_services.webhooks.repository import LEASE, DeliveryRepository, WebhookRepository

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

GONE_REASON = "gone (410)"
EXHAUSTED_REASON = f"no success in {ATTEMPTS} attempts"

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


@dataclass(frozen=True, slots=True)
class Received:
    """The receiver has it."""

    status: int


@dataclass(frozen=True, slots=True)
class Failure:
    """It has not; `error` is a few words of ours, `retry_after` in seconds where the receiver asked for a pause."""

    error: str
    status: int | None = None
    retry_after: float | None = None


class Deliveries:
    """The queue of one worker process, which runs `concurrency` jobs at once; any number of processes may have one.

    `per_endpoint`: so many attempts at most are under way to one webhook from this process, and fewer where that would
    be all of them, so that a receiver that hangs never holds up the others. `jitter` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        session: aiohttp.ClientSession,
        secret: bytes,
        *,
        concurrency: int,
        announce: Announce,
        per_endpoint: int = 2,
        lease: timedelta = LEASE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._session = session
        self._secret = secret
        self._announce = announce
        self._per_endpoint = max(1, min(per_endpoint, concurrency - 1))
        self._lease = lease
        self._jitter = jitter
        self._under_way: Counter[int] = Counter()

    async def take(self, limit: int) -> list[Job]:
        """Claim up to `limit` deliveries that are due; each must be carried out. Not to be called twice at once."""
        async with self._database.reading() as session:
            rows = await DeliveryRepository(session).claim(
                limit, per_webhook=self._per_endpoint, busy=self._under_way, lease=self._lease
            )
        self._under_way.update(row.webhook_id for row in rows)
        return [
            Job(
                id=row.id,
                webhook_id=row.webhook_id,
                message_id=row.message_id,
                body=row.body,
                attempt=row.attempts,
                url=row.url,
                secret=row.secret,
                previous_secret=row.previous_secret,
            )
            for row in rows
        ]

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

    async def next_due(self) -> timedelta | None:
        """How long until a delivery is due that can be taken as things are now; None while there is none.

        Negative for one that is due already. When a job ends, another may be due.
        """
        async with self._database.reading() as session:
            return await DeliveryRepository(session).next_due(per_webhook=self._per_endpoint, busy=self._under_way)

    async def _send(self, job: Job) -> Received | Failure:
        body = job.body.encode()
        try:
            headers = signing.headers(self._secrets(job), job.message_id, datetime.now(UTC), body)
            headers["content-type"] = "application/json"
            answer = await post(self._session, job.url, data=body, headers=headers)
        except signing.UnreadableSecretError:
            return Failure("the secret cannot be read any more; rotate it")
        except SendingFailed as refusal:
            return Failure(refusal.reason)
        if answer.is_success:
            return Received(answer.status)
        hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        retry_after = answer.retry_after if answer.status in THROTTLING else None
        return Failure(f"answered {answer.status}{hint}", answer.status, retry_after)

    def _secrets(self, job: Job) -> list[str]:
        secrets = [signing.unseal(job.secret, self._secret)]
        if job.previous_secret is not None:
            # the secret was perhaps replaced because this one could not be read any more
            with contextlib.suppress(signing.UnreadableSecretError):
                secrets.append(signing.unseal(job.previous_secret, self._secret))
        return secrets

    async def _succeed(self, job: Job, result: Received) -> None:
        async with self._database.reading() as session:
            await DeliveryRepository(session).succeed(job.id, job.attempt, result.status)

    async def _fail(self, job: Job, failure: Failure) -> None:
        is_gone, is_last = failure.status == GONE, job.attempt >= ATTEMPTS
        async with self._database.writing() as session, session.begin():
            webhooks, deliveries = WebhookRepository(session), DeliveryRepository(session)
            await webhooks.get_for_update(job.webhook_id)  # the webhook before its deliveries, as everybody does
            if not is_gone and not is_last:
                delay = delay_after(job.attempt, failure.retry_after, self._jitter())
                await deliveries.postpone(job.id, job.attempt, failure.status, failure.error, delay)
            elif await deliveries.fail(job.id, job.attempt, failure.status, failure.error):
                webhook = await webhooks.disable(job.webhook_id, GONE_REASON if is_gone else EXHAUSTED_REASON)
                if webhook is not None and not is_gone:
                    await self._announce(session, webhook, job.id)


def delay_after(attempt: int, retry_after: float | None, jitter: float) -> timedelta:
    """How long to wait after this attempt: the schedule's time ± 10 %, or longer where the receiver asked for it.

    `retry_after` is in seconds, `jitter` from 0 to 1.
    """
    planned = SCHEDULE[attempt - 1] * (1 + JITTER * (2 * jitter - 1))
    asked = min(timedelta(seconds=retry_after or 0), LONGEST_RETRY_AFTER)
    return max(planned, asked)
