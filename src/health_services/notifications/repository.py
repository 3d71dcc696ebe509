"""SQL of the ledger: reading it, and what the worker does with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.notifications.models import Notification
from health_services.pagination import LAST, Page

_SHOWN = (
    "id", "kind", "channel", "user_id", "appointment_id", "revision", "lead_minutes", "state", "due_at",
    "next_attempt_at", "attempts", "last_error", "sent_at", "created_at", "updated_at",
)  # fmt: skip
_COLUMNS = [getattr(Notification, name) for name in _SHOWN]

# Longer than any send can take: until then nobody else takes the message, afterwards anybody may.
LEASE = timedelta(minutes=2)

# One statement, which stands alone: a claim is a time until which nobody else takes the message.
_CLAIM = text(
    """WITH due AS (
           SELECT id FROM notifications
           WHERE state = 'queued' AND channel = :channel AND next_attempt_at <= now()
           ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED
       )
       UPDATE notifications n SET attempts = n.attempts + 1, next_attempt_at = now() + :lease, updated_at = now()
       FROM due WHERE n.id = due.id
       RETURNING n.id"""
)
# All that is needed to send them. Apart from the claim, since joining so much takes the planner longer than the rest:
# this it plans once. The earlier of two reminders that are both due is not worth sending.
_DETAILS = text(
    """SELECT t.id, t.kind, t.channel, t.user_id, t.subject, t.revision AS told_revision, t.lead_minutes,
              t.starts_at AS told_starts_at, t.expires_at, t.data::text AS data, t.due_at, t.attempts, now() AS now,
              u.name, u.email, u.mobile_no, u.is_active AS user_is_active, p.locale, r.preferred_language,
              contact_of(u.id) AS contact, v.*,
              EXISTS (SELECT FROM notifications o
                      WHERE t.kind = 'appointment_reminder' AND o.appointment_id = t.appointment_id
                        AND o.kind = t.kind AND o.user_id = t.user_id AND o.lead_minutes < t.lead_minutes
                        AND o.starts_at = t.starts_at
                        AND contact_of(u.id) -> 'reminder_lead_minutes' @> to_jsonb(o.lead_minutes)
                        AND o.state IN ('queued', 'sent') AND o.due_at <= now()) AS is_overtaken
       FROM notifications t
       JOIN users u ON u.id = t.user_id
       LEFT JOIN notification_preferences p ON p.user_id = u.id
       LEFT JOIN patients r ON r.user_id = u.id
       LEFT JOIN appointment_details v ON v.appointment_id = t.appointment_id
       WHERE t.id = ANY (CAST(:ids AS bigint[]))
       ORDER BY t.due_at, t.id"""
)
_NEXT_DUE = text(
    """SELECT next_attempt_at - now() FROM notifications
       WHERE state = 'queued' AND channel = :channel ORDER BY next_attempt_at LIMIT 1"""
)

# Whoever was slower than his claim changes nothing of what came after it, except that a message that is out is out.
# Whom one message about his visit has reached, nobody has to call for another.
_SENT = text(
    """WITH sent AS (
           UPDATE notifications SET state = 'sent', sent_at = now(), last_error = NULL, is_unreachable = false,
                  data = data - 'enclosed', updated_at = now()
           WHERE id = :id AND state <> 'sent'
           RETURNING id, user_id, appointment_id
       )
       UPDATE notifications n SET is_unreachable = false, updated_at = now() FROM sent
       WHERE n.appointment_id = sent.appointment_id AND n.user_id = sent.user_id AND n.is_unreachable
         AND n.id <> sent.id"""
)
_LATER = text(
    """UPDATE notifications SET next_attempt_at = CAST(:at AS timestamptz), last_error = :reason,
              attempts = attempts - :uncounted, updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued'"""
)
_END = text(
    """UPDATE notifications SET state = :state, last_error = :reason, is_unreachable = :is_unreachable,
              data = data - 'enclosed', updated_at = now()
       WHERE id = :id AND attempts = :attempt AND state = 'queued'
       RETURNING id"""
)
_HOLD = text("UPDATE notifications SET state = 'failed', is_unreachable = true, updated_at = now() WHERE id = :id")
# What is queued may be on its way at this moment: it is not looked at before that must have ended.
_RETRY = text(
    """UPDATE notifications
       SET next_attempt_at = CASE state WHEN 'failed' THEN now() ELSE LEAST(next_attempt_at, now() + :lease) END,
           attempts = CASE state WHEN 'failed' THEN 0 ELSE attempts END,
           state = 'queued', is_unreachable = false, updated_at = now()
       WHERE id = :id AND state IN ('failed', 'queued')"""
)
# The same message on another channel, sent or on its way.
_ELSEWHERE = text(
    """SELECT o.channel, o.state FROM notifications n
       JOIN notifications o ON o.dedupe_key IN (
           SELECT replace(n.dedupe_key, '/' || n.channel || '/', '/' || c.name || '/')
           FROM unnest(ARRAY['email', 'sms', 'push']) AS c (name) WHERE c.name <> n.channel)
       WHERE n.id = :id AND o.state IN ('queued', 'sent')
       ORDER BY o.state DESC LIMIT 1"""
)

# What a person's reminders should be from now on, against what they are. One that was sent for the same visit, or that
# is on its way through the person's other channels after a failure, is left alone; so is one whose time has come.
_REPLAN = text(
    """WITH asked AS (
           SELECT * FROM jsonb_to_recordset(CAST(:messages AS jsonb)) AS m (
               dedupe_key varchar, kind varchar, channel varchar, user_id bigint, appointment_id bigint,
               subject varchar, revision integer, lead_minutes integer, starts_at timestamptz,
               expires_at timestamptz, data jsonb, state varchar, due_at timestamptz, last_error varchar,
               is_unreachable boolean)
       ), begun AS (
           SELECT a.dedupe_key, a.appointment_id, a.lead_minutes FROM asked a
           WHERE EXISTS (SELECT FROM notifications n
                         WHERE n.appointment_id = a.appointment_id AND n.user_id = a.user_id AND n.kind = a.kind
                           AND n.lead_minutes = a.lead_minutes AND n.starts_at = a.starts_at
                           AND (n.state IN ('sent', 'failed') OR n.state = 'queued' AND n.due_at <= now())
                           AND n.id IS DISTINCT FROM CAST(:id AS bigint))
       ), wanted AS (
           SELECT * FROM asked WHERE dedupe_key NOT IN (SELECT dedupe_key FROM begun)
       ), dropped AS (
           UPDATE notifications n SET state = 'skipped', last_error = 'planned anew', updated_at = now()
           WHERE n.appointment_id = ANY (CAST(:appointments AS bigint[])) AND n.user_id = :user_id
             AND n.kind = 'appointment_reminder' AND n.state = 'queued' AND n.due_at > now()
             AND n.id IS DISTINCT FROM CAST(:id AS bigint)
             AND n.dedupe_key NOT IN (SELECT dedupe_key FROM wanted)
             AND (n.appointment_id, n.lead_minutes) NOT IN (SELECT appointment_id, lead_minutes FROM begun)
       ), ended AS (
           UPDATE notifications n SET state = 'skipped', last_error = :reason, updated_at = now()
           WHERE n.id = CAST(:id AS bigint) AND n.attempts = :attempt AND n.state = 'queued'
             AND n.dedupe_key NOT IN (SELECT dedupe_key FROM wanted)
       )
       INSERT INTO notifications AS n (kind, channel, user_id, appointment_id, subject, revision, lead_minutes,
                                       starts_at, expires_at, data, state, due_at, next_attempt_at, last_error,
                                       is_unreachable)
       SELECT kind, channel, user_id, appointment_id, subject, revision, lead_minutes, starts_at,
              expires_at, data, state, due_at, due_at, last_error, is_unreachable
       FROM wanted ORDER BY dedupe_key
       ON CONFLICT (dedupe_key) DO UPDATE
           SET state = excluded.state, starts_at = excluded.starts_at, expires_at = excluded.expires_at,
               due_at = excluded.due_at, next_attempt_at = excluded.next_attempt_at,
               last_error = excluded.last_error, is_unreachable = excluded.is_unreachable, updated_at = now()
           WHERE n.state IN ('queued', 'skipped')"""
)
# Keeps foreign keys, and so bookings, waiting for nothing.
_LOCK_PLAN = text("SELECT FROM users WHERE id = :id FOR NO KEY UPDATE")
# Locked before the ledger, as by whoever cancels: what is found live stays so until the plan is written.
_VISITS = text(
    """SELECT a.id, a.revision, s.slot_datetime AS starts_at, c.time_zone
       FROM patients p
       JOIN appointments a ON a.patient_id = p.id AND a.status IN ('pending', 'confirmed')
       JOIN appointment_slots s ON s.id = a.slot_id AND s.slot_datetime > :now
       JOIN clinics c ON c.id = a.clinic_id
       WHERE p.user_id = :user_id
       ORDER BY a.id FOR SHARE OF a"""
)
_ADD = text(
    """INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, revision, lead_minutes, starts_at,
                                  expires_at, data, state, due_at, next_attempt_at, last_error, is_unreachable)
       VALUES (:kind, :channel, :user_id, :appointment_id, :subject, :revision, :lead_minutes,
               :starts_at, :expires_at, CAST(:data AS jsonb), :state, :due_at, :due_at, :last_error, :is_unreachable)
       ON CONFLICT (dedupe_key) DO UPDATE
           SET state = excluded.state, due_at = excluded.due_at, next_attempt_at = excluded.next_attempt_at,
               attempts = 0, last_error = NULL, updated_at = now()
           WHERE notifications.state = 'skipped'
       RETURNING true"""
)
_IS_ALIVE = text("SELECT state IN ('queued', 'sent') FROM notifications WHERE dedupe_key = :dedupe_key")
# Of several messages to one person about one visit, the last. The driver writes that last instant as infinity.
_UNREACHABLE = text(
    """SELECT n.id AS notification_id, n.kind, n.user_id, r.id AS patient_id, u.name, u.mobile_no, n.last_error,
              n.updated_at AS failed_at, n.appointment_id, v.clinic_id, v.clinic_name, v.starts_at,
              COALESCE(n.expires_at, '9999-12-31T23:59:59.999999Z') AS useful_until
       FROM notifications n JOIN users u ON u.id = n.user_id LEFT JOIN patients r ON r.user_id = n.user_id
       LEFT JOIN appointment_details v ON v.appointment_id = n.appointment_id
       WHERE n.is_unreachable AND (COALESCE(n.expires_at, 'infinity'), n.id) > (:at, :id)
         AND (n.appointment_id IS NULL OR v.is_live OR n.kind = 'appointment_cancelled')
         AND NOT EXISTS (SELECT FROM notifications o WHERE o.appointment_id = n.appointment_id
                         AND o.user_id = n.user_id AND o.is_unreachable AND o.id > n.id)
         AND (CAST(:clinics AS bigint[]) IS NULL OR v.clinic_id = ANY (CAST(:clinics AS bigint[])))
       ORDER BY COALESCE(n.expires_at, 'infinity'), n.id OFFSET :skip LIMIT :probe"""
)


@dataclass(frozen=True)
class Ended:
    """A message that was claimed for its `attempt` and is not to be sent, and why; none as it stands."""

    id: int | None = None
    attempt: int | None = None
    reason: str | None = None


class NotificationRepository:
    """The ledger's rows."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def take(self, channel: str, limit: int, lease: timedelta) -> Sequence[AnyRow]:
        """Claim due messages of a channel for the time of the lease, with all that is needed to send them."""
        values = {"channel": channel, "limit": limit, "lease": lease}
        ids = list(await self._session.scalars(_CLAIM, values))
        return (await self._session.execute(_DETAILS, {"ids": ids})).all() if ids else []

    async def next_due(self, channel: str) -> timedelta | None:
        """How long until the next message of the channel is due; None if none waits."""
        wait: timedelta | None = await self._session.scalar(_NEXT_DUE, {"channel": channel})
        return wait

    async def is_still_wanted(self, row: AnyRow) -> bool:
        """Whether nobody dropped it, and no other worker took it, since this one did."""
        query = select(Notification.id).where(
            Notification.id == row.id, Notification.attempts == row.attempts, Notification.state == "queued"
        )
        return await self._session.scalar(query) is not None

    async def mark_sent(self, notification_id: int) -> None:
        """It is out, and the person is reached."""
        await self._session.execute(_SENT, {"id": notification_id})

    async def put_off(self, row: AnyRow, at: datetime, reason: str | None, *, is_attempt: bool = True) -> None:
        """Look at it again then; `is_attempt` is false where nothing was tried."""
        values = {"id": row.id, "attempt": row.attempts, "at": at, "reason": reason, "uncounted": int(not is_attempt)}
        await self._session.execute(_LATER, values)

    async def end(self, row: AnyRow, state: str, reason: str, *, is_unreachable: bool = False) -> bool:
        """Give it up (`failed`) or drop it (`skipped`); False if somebody else has changed it since."""
        values = {"id": row.id, "attempt": row.attempts, "state": state, "reason": reason}
        ended = await self._session.execute(_END, values | {"is_unreachable": is_unreachable})
        return ended.one_or_none() is not None

    async def hold(self, notification_id: int) -> None:
        """No channel is left for it: somebody has to call."""
        await self._session.execute(_HOLD, {"id": notification_id})

    async def add(self, values: dict[str, Any]) -> bool:
        """One more message; one with its key that was dropped before is taken up again, any other stays as it is.

        Whether there is one now that was or will be sent.
        """
        if await self._session.scalar(_ADD, values | {"data": orjson.dumps(values["data"]).decode()}):
            return True
        return bool(await self._session.scalar(_IS_ALIVE, {"dedupe_key": values["dedupe_key"]}))

    async def retry(self, notification_id: int) -> None:
        """Let a message that was given up be tried again, from the first attempt on; one that waits, soon."""
        await self._session.execute(_RETRY, {"id": notification_id, "lease": LEASE})

    async def elsewhere(self, notification_id: int) -> AnyRow | None:
        """The `channel` and `state` of the same message where another channel has sent or will send it."""
        return (await self._session.execute(_ELSEWHERE, {"id": notification_id})).one_or_none()

    async def contact(self, user_id: int) -> str:
        """What `contact_of` says of the person, as JSON."""
        return str(await self._session.scalar(text("SELECT contact_of(:id)::text"), {"id": user_id}))

    async def lock_plan(self, user_id: int) -> None:
        """Let nobody else plan this person's reminders until the transaction ends."""
        await self._session.execute(_LOCK_PLAN, {"id": user_id})

    async def visits(self, user_id: int, now: datetime) -> Sequence[AnyRow]:
        """The person's live appointments to come as a patient, locked against change."""
        return (await self._session.execute(_VISITS, {"user_id": user_id, "now": now})).all()

    async def replan(
        self, user_id: int, appointments: list[int], messages: Sequence[dict[str, Any]], ended: Ended
    ) -> None:
        """Let these be the reminders of those appointments that are still to be sent, without the one that ended."""
        values = {"user_id": user_id, "appointments": appointments, "messages": orjson.dumps(list(messages)).decode()}
        await self._session.execute(_REPLAN, values | vars(ended))

    async def get(self, notification_id: int, *, lock: bool = False) -> AnyRow | None:
        """One message, on request locked until the transaction ends; with `expires_at`."""
        query = select(*_COLUMNS, Notification.expires_at).where(Notification.id == notification_id)
        return (await self._session.execute(query.with_for_update() if lock else query)).one_or_none()

    async def of_appointment(self, appointment_id: int, page: Page) -> Sequence[AnyRow]:
        """The messages about an appointment, by id; one more than the page holds."""
        query = select(*_COLUMNS).where(Notification.appointment_id == appointment_id)
        return (await self._session.execute(page.of(query, Notification.id))).all()

    async def list(self, state: str | None, kind: str | None, channel: str | None, page: Page) -> Sequence[AnyRow]:
        """All messages of that state, kind and channel, by id; one more than the page holds."""
        query = select(*_COLUMNS)
        for column, value in ((Notification.state, state), (Notification.kind, kind), (Notification.channel, channel)):
            if value is not None:
                # In the statement's text: a plan made once for any value would read the whole ledger for a seldom one.
                query = query.where(column == bindparam(None, value, literal_execute=True))
        return (await self._session.execute(page.of(query, Notification.id))).all()

    async def unreachable(self, clinics: Sequence[int] | None, now: datetime, page: Page) -> Sequence[AnyRow]:
        """What no channel took and still matters, soonest too late first; of these clinics, or of all; one more."""
        at, last_id = max(page.after or (now, 0), (now, LAST[1]))
        values = {"clinics": clinics, "at": at, "id": last_id, "skip": page.skip, "probe": page.probe}
        return (await self._session.execute(_UNREACHABLE, values)).all()
