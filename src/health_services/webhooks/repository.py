"""SQL of webhooks and of what is sent to them.

Whoever locks both locks the webhook first, then its deliveries. The worker's claim waits for no lock.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import case, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.webhooks.models import Webhook, WebhookDelivery

# A worker that says nothing for so long is taken for dead, and its deliveries are tried again.
LEASE = timedelta(minutes=2)

_COLUMNS = (
    Webhook.id, Webhook.url, Webhook.events, Webhook.is_active, Webhook.disabled_reason, Webhook.created_by_user_id,
    Webhook.created_at, Webhook.updated_at,
)  # fmt: skip
_DELIVERY_COLUMNS = (
    WebhookDelivery.id, WebhookDelivery.message_id, WebhookDelivery.event, WebhookDelivery.subject,
    WebhookDelivery.state, WebhookDelivery.attempts, WebhookDelivery.response_status, WebhookDelivery.last_error,
    case((WebhookDelivery.state == "queued", WebhookDelivery.next_attempt_at)).label("next_attempt_at"),
    WebhookDelivery.sent_at, WebhookDelivery.created_at,
)  # fmt: skip

_CREATING_LOCK = 7_310_842_118_356
_ADD = text(
    """INSERT INTO webhooks (url, events, secret, created_by_user_id)
       VALUES (:url, CAST(:events AS varchar[]), :secret, :created_by)
       RETURNING id, url, events, is_active, disabled_reason, created_by_user_id, created_at, updated_at"""
)
_ROTATE = text(
    """UPDATE webhooks SET previous_secret = secret, previous_secret_until = :until, secret = :secret,
                           updated_at = now()
       WHERE id = :id AND deleted_at IS NULL RETURNING id"""
)
_DISABLE = text(
    """UPDATE webhooks SET is_active = false, disabled_reason = :reason, updated_at = now()
       WHERE id = :id AND is_active AND deleted_at IS NULL RETURNING id, url, created_by_user_id"""
)
_SKIP = text(
    """UPDATE webhook_deliveries SET state = 'skipped', last_error = 'the webhook was deleted', updated_at = now()
       WHERE webhook_id = :webhook_id AND state = 'queued'"""
)
# What is under way is due again within the lease; it is left to whoever sends it.
_RELEASE = text(
    """UPDATE webhook_deliveries
       SET attempts = 0, next_attempt_at = LEAST(next_attempt_at, now()), updated_at = now()
       WHERE webhook_id = :webhook_id AND state = 'queued'
         AND next_attempt_at NOT BETWEEN now() AND now() + CAST(:lease AS interval)"""
)
_REQUEUE = text(
    """UPDATE webhook_deliveries
       SET state = 'queued', attempts = 0, next_attempt_at = now(), response_status = NULL, last_error = NULL,
           sent_at = NULL, updated_at = now()
       WHERE id = :id AND webhook_id = :webhook_id AND state <> 'queued' RETURNING id"""
)

# Deliveries whose turn it is, webhook by webhook, so that the backlog of one is nothing to the others: `room` says how
# many each may have, and of one subject only the earliest that waits has its turn.
_ROOM = """
    SELECT w.id, CAST(:per_webhook AS integer) - COALESCE(busy.count, 0) AS places
    FROM webhooks w
    LEFT JOIN unnest(CAST(:busy_ids AS bigint[]), CAST(:busy_counts AS integer[])) AS busy (id, count) ON busy.id = w.id
    WHERE w.is_active AND w.deleted_at IS NULL AND COALESCE(busy.count, 0) < CAST(:per_webhook AS integer)"""
_HAS_TURN = """
    d.webhook_id = room.id AND d.state = 'queued' AND d.id = (
        SELECT min(q.id) FROM webhook_deliveries q
        WHERE q.webhook_id = d.webhook_id AND q.subject = d.subject AND q.state = 'queued')"""
_CLAIM = text(
    f"""WITH room AS ({_ROOM}
       ), due AS (
           SELECT d.id FROM room CROSS JOIN LATERAL (
               SELECT d.id, d.next_attempt_at FROM webhook_deliveries d
               WHERE d.next_attempt_at <= now() AND {_HAS_TURN}
               ORDER BY d.next_attempt_at LIMIT room.places FOR UPDATE SKIP LOCKED
           ) d
           ORDER BY d.next_attempt_at, d.id LIMIT :limit
       ), claimed AS (
           UPDATE webhook_deliveries d
           SET attempts = attempts + 1, next_attempt_at = now() + CAST(:lease AS interval), updated_at = now()
           FROM due WHERE d.id = due.id
           RETURNING d.id, d.webhook_id, d.message_id, d.body, d.attempts
       )
       SELECT c.id, c.webhook_id, c.message_id, c.body, c.attempts, w.url, w.secret,
              CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret
       FROM claimed c JOIN webhooks w ON w.id = c.webhook_id
       ORDER BY c.id"""  # noqa: S608 - only texts of this module
)
_NEXT_DUE = text(
    f"""WITH room AS ({_ROOM}
       )
       SELECT min(d.next_attempt_at) - now() FROM room CROSS JOIN LATERAL (
           SELECT d.next_attempt_at FROM webhook_deliveries d WHERE {_HAS_TURN}
           ORDER BY d.next_attempt_at LIMIT 1
       ) d"""  # noqa: S608 - only texts of this module
)
# Only the attempt that the row counts last may say what became of it.
_SUCCEED = text(
    """UPDATE webhook_deliveries
       SET state = 'sent', sent_at = now(), response_status = :status, last_error = NULL, updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued'"""
)
# Those behind it wait along: a dead receiver's would otherwise all stand in the way of those that have their turn.
_POSTPONE = text(
    """WITH postponed AS (
           UPDATE webhook_deliveries
           SET next_attempt_at = now() + CAST(:delay AS interval), response_status = :status, last_error = :error,
               updated_at = now()
           WHERE id = :id AND attempts = :attempt AND state = 'queued'
           RETURNING id, webhook_id, subject, next_attempt_at
       )
       UPDATE webhook_deliveries d SET next_attempt_at = p.next_attempt_at, updated_at = now()
       FROM postponed p
       WHERE d.webhook_id = p.webhook_id AND d.subject = p.subject AND d.id > p.id AND d.state = 'queued'
         AND d.next_attempt_at < p.next_attempt_at"""
)
_FAIL = text(
    """UPDATE webhook_deliveries
       SET state = 'failed', response_status = :status, last_error = :error, updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued' RETURNING id"""
)


class WebhookRepository:
    """Webhooks that are not deleted."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def count_for_creating(self) -> int:
        """How many there are; who asks next waits until this transaction ends."""
        await self._session.execute(select(func.pg_advisory_xact_lock(_CREATING_LOCK)))
        query = select(func.count()).select_from(Webhook).where(Webhook.deleted_at.is_(None))
        return await self._session.scalar(query) or 0

    async def add(self, *, url: str, events: Sequence[str], secret: bytes, created_by: int) -> AnyRow:
        """Insert; `secret` is sealed."""
        values = {"url": url, "events": list(events), "secret": secret, "created_by": created_by}
        return (await self._session.execute(_ADD, values)).one()

    async def get(self, webhook_id: int) -> AnyRow | None:
        """One webhook, without its secrets."""
        query = select(*_COLUMNS).where(Webhook.id == webhook_id, Webhook.deleted_at.is_(None))
        return (await self._session.execute(query)).one_or_none()

    async def get_for_update(self, webhook_id: int) -> Webhook | None:
        """One webhook, locked until the transaction ends."""
        query = (
            select(Webhook)
            .where(Webhook.id == webhook_id, Webhook.deleted_at.is_(None))
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
        return (await self._session.execute(query)).scalar_one_or_none()

    async def all(self, page: Page) -> Sequence[AnyRow]:
        """By id, one more than the page holds."""
        query = select(*_COLUMNS).where(Webhook.deleted_at.is_(None)).order_by(Webhook.id)
        return (await self._session.execute(query.offset(page.skip).limit(page.probe))).all()

    async def rotate(self, webhook_id: int, secret: bytes, until: datetime) -> bool:
        """Sign with this sealed secret from now on, and until then with the old one too; whether there is one."""
        values = {"id": webhook_id, "secret": secret, "until": until}
        return (await self._session.execute(_ROTATE, values)).one_or_none() is not None

    async def disable(self, webhook_id: int, reason: str) -> AnyRow | None:
        """Switch off; `id`, `url` and `created_by_user_id` of one that was on."""
        return (await self._session.execute(_DISABLE, {"id": webhook_id, "reason": reason})).one_or_none()


class DeliveryRepository:
    """What was, is and will be sent to webhooks."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_webhook(self, webhook_id: int, state: str | None, page: Page) -> Sequence[AnyRow]:
        """Newest first, one more than the page holds."""
        query = select(*_DELIVERY_COLUMNS).where(WebhookDelivery.webhook_id == webhook_id)
        if state is not None:
            query = query.where(WebhookDelivery.state == state)
        query = query.order_by(WebhookDelivery.id.desc()).offset(page.skip).limit(page.probe)
        return (await self._session.execute(query)).all()

    async def get(self, webhook_id: int, delivery_id: int) -> AnyRow | None:
        """One delivery of this webhook."""
        query = select(*_DELIVERY_COLUMNS).where(
            WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
        )
        return (await self._session.execute(query)).one_or_none()

    async def requeue(self, webhook_id: int, delivery_id: int) -> bool:
        """Begin again with the first attempt; False for one that is queued already, or not there."""
        values = {"id": delivery_id, "webhook_id": webhook_id}
        return (await self._session.execute(_REQUEUE, values)).one_or_none() is not None

    async def skip_all(self, webhook_id: int) -> None:
        """What waits is not sent any more."""
        await self._session.execute(_SKIP, {"webhook_id": webhook_id})

    async def release(self, webhook_id: int) -> None:
        """What waits is due now, with all its attempts before it."""
        await self._session.execute(_RELEASE, {"webhook_id": webhook_id, "lease": LEASE})

    async def claim(
        self, limit: int, *, per_webhook: int, busy: Mapping[int, int], lease: timedelta
    ) -> Sequence[AnyRow]:
        """Take up to `limit` deliveries that are due for one attempt each, in one statement.

        No webhook gets more than `per_webhook`, less what `busy` says is under way already.
        """
        values = {"limit": limit, "lease": lease, **_room(per_webhook, busy)}
        return (await self._session.execute(_CLAIM, values)).all()

    async def next_due(self, *, per_webhook: int, busy: Mapping[int, int]) -> timedelta | None:
        """How long until a delivery is due that `claim` would take, negative if it is already; None without one."""
        due: timedelta | None = await self._session.scalar(_NEXT_DUE, _room(per_webhook, busy))
        return due

    async def succeed(self, delivery_id: int, attempt: int, status: int) -> None:
        """It was received."""
        await self._session.execute(_SUCCEED, {"id": delivery_id, "attempt": attempt, "status": status})

    async def postpone(self, delivery_id: int, attempt: int, status: int | None, error: str, delay: timedelta) -> None:
        """Try again after so long; what waits behind it waits too."""
        values = {"id": delivery_id, "attempt": attempt, "status": status, "error": error, "delay": delay}
        await self._session.execute(_POSTPONE, values)

    async def fail(self, delivery_id: int, attempt: int, status: int | None, error: str) -> bool:
        """Give up; False if a later attempt has the word."""
        values = {"id": delivery_id, "attempt": attempt, "status": status, "error": error}
        return (await self._session.execute(_FAIL, values)).one_or_none() is not None


def _room(per_webhook: int, busy: Mapping[int, int]) -> dict[str, object]:
    return {"per_webhook": per_webhook, "busy_ids": list(busy), "busy_counts": list(busy.values())}
