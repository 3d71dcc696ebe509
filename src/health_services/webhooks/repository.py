"""SQL of webhooks and of what is sent to them.

Whoever locks both locks the webhook first, then its deliveries. The worker's claim waits for no lock.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, case, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.webhooks.models import Webhook, WebhookDelivery

# A worker that says nothing for so long is taken for dead, and its deliveries are tried again.
LEASE = timedelta(minutes=2)
# How long a webhook that is not reached is left alone: as long as that has lasted, between these two.
SHORTEST_HOLD, LONGEST_HOLD = timedelta(seconds=5), timedelta(minutes=5)

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
              updated_at = now() WHERE id = :id AND deleted_at IS NULL RETURNING id"""
)
_DISABLE = text(
    """UPDATE webhooks SET is_active = false, disabled_reason = :reason, updated_at = now()
       WHERE id = :id AND is_active AND deleted_at IS NULL RETURNING id, url, created_by_user_id"""
)
# The time so far counts, and not how often: two attempts that end together are one failure. The row is written only
# where something changes, since every booking reads it.
_HOLD = text(
    """UPDATE webhooks
       SET failing_since = COALESCE(failing_since, now()),
           held_until = now() + LEAST(CAST(:longest AS interval),
                                      GREATEST(CAST(:shortest AS interval), now() - failing_since))
       WHERE id = :id AND (CAST(:is_unanswered AS boolean) OR failing_since IS NOT NULL)
       RETURNING now() - failing_since"""
)
_END_HOLD = text(
    "UPDATE webhooks SET failing_since = NULL, held_until = NULL WHERE id = :id AND failing_since IS NOT NULL"
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
       WHERE id = :id AND webhook_id = :webhook_id AND state <> 'queued' AND body <> '' RETURNING id"""
)

# Deliveries whose turn it is, webhook by webhook, so that the backlog of one is nothing to the others: `room` says how
# many each may have, one where it fails; of one subject only the earliest that waits has its turn. All get one first.
_ROOM = """
    SELECT w.id, w.failing_since IS NOT NULL AS is_failing, w.held_until, most.places - busy.places AS places,
           busy.places AS taken
    FROM webhooks w
    CROSS JOIN LATERAL (SELECT CASE WHEN w.failing_since IS NULL THEN CAST(:per_webhook AS integer)
                                    ELSE LEAST(1, CAST(:probes AS integer)) END) AS most (places)
    CROSS JOIN LATERAL (SELECT count(*) FROM unnest(CAST(:busy AS bigint[])) AS b WHERE b = w.id) AS busy (places)
    WHERE w.is_active AND w.deleted_at IS NULL AND busy.places < most.places"""
_HAS_TURN = """
    d.webhook_id = room.id AND d.state = 'queued' AND d.id = (
        SELECT min(q.id) FROM webhook_deliveries q
        WHERE q.webhook_id = d.webhook_id AND q.subject = d.subject AND q.state = 'queued')"""
# Who takes the one delivery that finds out whether a failing webhook is back holds it for as long as the claim lasts;
# of several workers, whoever locks its row.
_CLAIM = text(
    f"""WITH room AS ({_ROOM}
       ), probed AS (
           SELECT w.id FROM room JOIN webhooks w ON w.id = room.id
           WHERE w.held_until <= now() AND EXISTS (
               SELECT FROM webhook_deliveries d WHERE d.next_attempt_at <= now() AND {_HAS_TURN})
           ORDER BY w.held_until, w.id LIMIT :probes FOR NO KEY UPDATE OF w SKIP LOCKED
       ), due AS (
           SELECT d.id FROM room CROSS JOIN LATERAL (
               SELECT d.id, d.next_attempt_at FROM webhook_deliveries d
               WHERE d.next_attempt_at <= now() AND {_HAS_TURN}
               ORDER BY d.next_attempt_at LIMIT room.places FOR UPDATE SKIP LOCKED
           ) d
           WHERE NOT room.is_failing OR room.id IN (SELECT id FROM probed)
           ORDER BY room.taken + row_number() OVER (PARTITION BY room.id ORDER BY d.next_attempt_at),
                    d.next_attempt_at, d.id LIMIT :limit
       ), claimed AS (
           UPDATE webhook_deliveries d
           SET attempts = attempts + 1, next_attempt_at = now() + CAST(:lease AS interval), updated_at = now(),
               first_attempt_at = CASE WHEN attempts = 0 THEN now() ELSE first_attempt_at END
           FROM due WHERE d.id = due.id
           RETURNING d.id, d.webhook_id, d.message_id, d.body, d.attempts
       ), held AS (
           UPDATE webhooks w SET held_until = now() + CAST(:lease AS interval)
           FROM claimed c JOIN probed ON probed.id = c.webhook_id WHERE w.id = probed.id
       )
       SELECT c.*, w.url, w.secret, w.failing_since IS NOT NULL AS is_probe,
              CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret
       FROM claimed c JOIN webhooks w ON w.id = c.webhook_id
       ORDER BY c.id"""  # noqa: S608 - only texts of this module
)
_NEXT_DUE = text(
    f"""WITH room AS ({_ROOM}
       )
       SELECT min(GREATEST(d.next_attempt_at, room.held_until)) - now() FROM room CROSS JOIN LATERAL (
           SELECT d.next_attempt_at FROM webhook_deliveries d WHERE {_HAS_TURN}
           ORDER BY d.next_attempt_at LIMIT 1
       ) d"""  # noqa: S608 - only texts of this module
)
# Only the attempt that the row counts last may say what became of it.
_SUCCEED = text(
    """UPDATE webhook_deliveries
       SET state = 'sent', sent_at = now(), response_status = :status, last_error = NULL, updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued'
       RETURNING EXISTS (SELECT FROM webhooks w WHERE w.id = webhook_id AND w.failing_since IS NOT NULL)"""
)
# Those behind it wait along: a dead receiver's would otherwise all stand in the way of those that have their turn.
_POSTPONE = text(
    """WITH postponed AS (
           UPDATE webhook_deliveries
           SET next_attempt_at = now() + CAST(:delay AS interval), response_status = :status, last_error = :error,
               updated_at = now()
           WHERE id = :id AND attempts = :attempt AND state = 'queued'
           RETURNING id, webhook_id, subject, next_attempt_at
       ), behind AS (
           UPDATE webhook_deliveries d SET next_attempt_at = p.next_attempt_at, updated_at = now()
           FROM postponed p
           WHERE d.webhook_id = p.webhook_id AND d.subject = p.subject AND d.id > p.id AND d.state = 'queued'
             AND d.next_attempt_at < p.next_attempt_at
       )
       SELECT id FROM postponed"""
)
_FAIL = text(
    """UPDATE webhook_deliveries
       SET state = 'failed', response_status = :status, last_error = :error, updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued' RETURNING id"""
)
# Newest first: where others were received one is found at once; where none was, this is the webhook's last question.
_OTHERS_RECEIVED = text(
    """SELECT o.id FROM webhook_deliveries d JOIN webhook_deliveries o ON o.webhook_id = d.webhook_id
       WHERE d.id = :id AND o.state = 'sent' AND o.sent_at >= d.first_attempt_at ORDER BY o.id DESC LIMIT 1"""
)


@dataclass(frozen=True)
class Room:
    """What a worker can take: of each webhook `per_webhook` at most, less those under way, whose webhooks are `busy`.

    Of one that fails it is a single one, once its hold is over, and of `probes` such webhooks at most.
    """

    per_webhook: int
    probes: int
    busy: Sequence[int]


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
        query = select(*_COLUMNS).where(Webhook.deleted_at.is_(None))
        return (await self._session.execute(page.of(query, Webhook.id))).all()

    async def rotate(self, webhook_id: int, secret: bytes, until: datetime) -> bool:
        """Sign with this sealed secret from now on, and until then with the old one too; whether there is one."""
        values = {"id": webhook_id, "secret": secret, "until": until}
        return (await self._session.execute(_ROTATE, values)).one_or_none() is not None

    async def disable(self, webhook_id: int, reason: str) -> AnyRow | None:
        """Switch off; `id`, `url` and `created_by_user_id` of one that was on."""
        return (await self._session.execute(_DISABLE, {"id": webhook_id, "reason": reason})).one_or_none()

    async def hold(self, webhook_id: int, *, is_unanswered: bool) -> timedelta | None:
        """Send nothing for a while, if this attempt was not answered or earlier ones were not and none succeeded since.

        Says for how long it has failed; None if it is not held.
        """
        values = {"id": webhook_id, "is_unanswered": is_unanswered, "shortest": SHORTEST_HOLD, "longest": LONGEST_HOLD}
        lasted: timedelta | None = await self._session.scalar(_HOLD, values)
        return lasted

    async def end_hold(self, webhook_id: int) -> None:
        """Send as if it had never failed."""
        await self._session.execute(_END_HOLD, {"id": webhook_id})


class DeliveryRepository:
    """What was, is and will be sent to webhooks."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_webhook(self, webhook_id: int, state: str | None, page: Page) -> Sequence[AnyRow]:
        """Newest first, one more than the page holds."""
        query = select(*_DELIVERY_COLUMNS).where(WebhookDelivery.webhook_id == webhook_id)
        if state is not None:
            # In the statement's text, so that the index of all but what was sent is known to do.
            query = query.where(WebhookDelivery.state == bindparam(None, state, literal_execute=True))
        return (await self._session.execute(page.of(query, WebhookDelivery.id, newest_first=True))).all()

    async def get(self, webhook_id: int, delivery_id: int) -> AnyRow | None:
        """One delivery of this webhook."""
        query = select(*_DELIVERY_COLUMNS).where(
            WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id
        )
        return (await self._session.execute(query)).one_or_none()

    async def requeue(self, webhook_id: int, delivery_id: int) -> bool:
        """Begin again with the first attempt; False for one that is queued already, forgotten, or not there."""
        values = {"id": delivery_id, "webhook_id": webhook_id}
        return (await self._session.execute(_REQUEUE, values)).one_or_none() is not None

    async def skip_all(self, webhook_id: int) -> None:
        """What waits is not sent any more."""
        await self._session.execute(_SKIP, {"webhook_id": webhook_id})

    async def release(self, webhook_id: int) -> None:
        """What waits is due now, with all its attempts before it."""
        await self._session.execute(_RELEASE, {"webhook_id": webhook_id, "lease": LEASE})

    async def claim(self, limit: int, room: Room, *, lease: timedelta) -> Sequence[AnyRow]:
        """Take up to `limit` deliveries that are due for one attempt each, in one statement."""
        return (await self._session.execute(_CLAIM, {"limit": limit, "lease": lease, **asdict(room)})).all()

    async def next_due(self, room: Room) -> timedelta | None:
        """How long until a delivery is due that `claim` would take, negative if it is already; None without one."""
        due: timedelta | None = await self._session.scalar(_NEXT_DUE, asdict(room))
        return due

    async def succeed(self, delivery_id: int, attempt: int, status: int) -> bool:
        """It was received; whether its webhook was failing until now."""
        return bool(await self._session.scalar(_SUCCEED, {"id": delivery_id, "attempt": attempt, "status": status}))

    async def postpone(self, delivery_id: int, attempt: int, status: int | None, error: str, delay: timedelta) -> bool:
        """Try again after so long, and what waits behind it too; False if a later attempt has the word."""
        values = {"id": delivery_id, "attempt": attempt, "status": status, "error": error, "delay": delay}
        return (await self._session.execute(_POSTPONE, values)).one_or_none() is not None

    async def fail(self, delivery_id: int, attempt: int, status: int | None, error: str) -> bool:
        """Give up; False if a later attempt has the word."""
        values = {"id": delivery_id, "attempt": attempt, "status": status, "error": error}
        return (await self._session.execute(_FAIL, values)).one_or_none() is not None

    async def were_others_received(self, delivery_id: int) -> bool:
        """Whether its webhook has taken any other since the first attempt of this one."""
        return await self._session.scalar(_OTHERS_RECEIVED, {"id": delivery_id}) is not None
