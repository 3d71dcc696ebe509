"""The one statement that writes what has to be told."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.postponed import Write, postpone, write_all

_DROPPED = (
    "dropped",
    """UPDATE notifications SET state = 'skipped', last_error = 'the appointment changed', updated_at = now()
       WHERE appointment_id = CAST(:superseded AS bigint) AND state = 'queued'""",
)
# Inserts, and nothing that notifies: commits that do wait for each other. A key that is there already stays as it is.
_WRITE = Write(
    (
        (
            "told",
            """INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, revision, lead_minutes,
                                          starts_at, expires_at, data, state, due_at, next_attempt_at, last_error,
                                          is_unreachable)
               SELECT kind, channel, user_id, appointment_id, subject, revision, lead_minutes, starts_at,
                      expires_at, data, state, due_at, due_at, last_error, is_unreachable
               FROM jsonb_to_recordset(CAST(:messages AS jsonb)) AS m (
                   kind varchar, channel varchar, user_id bigint, appointment_id bigint,
                   subject varchar, revision integer, lead_minutes integer, starts_at timestamptz,
                   expires_at timestamptz, data jsonb, state varchar, due_at timestamptz, last_error varchar,
                   is_unreachable boolean)
               ON CONFLICT (dedupe_key) DO NOTHING""",
        ),
        (
            "published",
            """INSERT INTO webhook_deliveries (webhook_id, event, subject, body)
               SELECT w.id, e.event, e.subject, e.body
               FROM jsonb_to_recordset(CAST(:events AS jsonb))
                    AS e (place integer, event varchar, subject varchar, body varchar)
               JOIN webhooks w ON w.is_active AND w.deleted_at IS NULL AND e.event = ANY (w.events)
               ORDER BY e.place, w.id""",
        ),
    )
)
# Two statements, since a part that changes no row costs nearly as much as one that does: bookings supersede nothing.
_SUPERSEDE = Write((_DROPPED, *_WRITE.parts))


class AnnouncementRepository:
    """Writes to the ledger and to the deliveries of webhooks, in the caller's transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def write(
        self,
        *,
        messages: Sequence[dict[str, Any]],
        events: Sequence[dict[str, Any]],
        superseded: int | None,
        is_urgent: bool = True,
    ) -> None:
        """Add messages and events; what still waits for the appointment `superseded` is dropped.

        One round trip; none unless it is urgent: then it is written before the commit.
        """
        values = {
            "messages": orjson.dumps(messages).decode(),
            "events": orjson.dumps([{"place": place, **event} for place, event in enumerate(events)]).decode(),
        }
        if superseded is None:
            postpone(self._session, _WRITE, values)
        else:
            postpone(self._session, _SUPERSEDE, values | {"superseded": superseded})
        if is_urgent:
            await write_all(self._session)
