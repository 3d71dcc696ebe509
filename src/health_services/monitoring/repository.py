"""SQL of the queues' state."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow

# Only what waits or failed is counted, in partial indexes and no further than MOST, so that asking stays cheap however
# many messages there were and are to come. The order makes sure of the index: with a bound alone, all is read.
# What was tried in vain is asked for apart: each attempt moves its next one ahead, and what a gateway that is down
# holds up would look as if it were early.
MOST = 10_000
_QUEUES = text(
    """SELECT 'notifications' AS queue, c.channel,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'queued' AND n.channel = c.channel
                                     AND n.next_attempt_at <= now()
                                     ORDER BY n.next_attempt_at LIMIT :most) AS d) AS due,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'queued' AND n.channel = c.channel
                                     ORDER BY n.next_attempt_at LIMIT :most) AS q) AS queued,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'queued' AND n.channel = c.channel
                                     AND n.attempts > 0 AND n.due_at <= now()
                                     ORDER BY n.due_at LIMIT :most) AS r) AS retrying,
              EXTRACT(epoch FROM now() - LEAST(
                  (SELECT min(n.next_attempt_at) FROM notifications n
                   WHERE n.state = 'queued' AND n.channel = c.channel),
                  (SELECT min(n.due_at) FROM notifications n
                   WHERE n.state = 'queued' AND n.channel = c.channel AND n.attempts > 0)))::float AS oldest_seconds,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'failed' AND n.channel = c.channel
                                     ORDER BY n.id LIMIT :most) AS f) AS failed
       FROM unnest(ARRAY['email', 'sms', 'push']) AS c (channel)
       UNION ALL
       SELECT 'webhooks', 'http', sum(w.due), sum(w.queued), sum(w.retrying), max(w.oldest_seconds),
              (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.state = 'failed'
                                     ORDER BY d.id LIMIT :most) AS f)
       FROM (SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                                           WHERE d.webhook_id = h.id AND d.state = 'queued'
                                             AND d.next_attempt_at <= now()
                                           ORDER BY d.next_attempt_at LIMIT :most) AS d) AS due,
                    (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                                           WHERE d.webhook_id = h.id AND d.state = 'queued'
                                           ORDER BY d.next_attempt_at LIMIT :most) AS q) AS queued,
                    (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                                           WHERE d.webhook_id = h.id AND d.state = 'queued' AND d.attempts > 0
                                           ORDER BY d.created_at LIMIT :most) AS r) AS retrying,
                    EXTRACT(epoch FROM now() - LEAST(
                        (SELECT min(d.next_attempt_at) FROM webhook_deliveries d
                         WHERE d.webhook_id = h.id AND d.state = 'queued'),
                        (SELECT min(d.created_at) FROM webhook_deliveries d
                         WHERE d.webhook_id = h.id AND d.state = 'queued' AND d.attempts > 0)))::float AS oldest_seconds
             FROM webhooks h WHERE h.is_active AND h.deleted_at IS NULL) AS w
       ORDER BY 1, 2"""
)


# Counts are about nobody, so whoever asks may have them. A bitmap would read all that waits before the bound is
# reached.
_PATIENCE = text(
    """SELECT set_config('statement_timeout', :milliseconds, true), set_config('enable_bitmapscan', 'off', true),
              set_config('app.role', 'service', true)"""
)


class QueueRepository:
    """The state of all that waits to be sent."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def queues(self, patience_ms: int) -> Sequence[AnyRow]:
        """For each queue and channel: `due`, `retrying`, `queued`, `failed`, and the oldest's lateness in seconds.

        Counts end at MOST; the lateness is negative if all lies ahead, and null where nothing waits. The transaction's
        statements end after `patience_ms` from now on.
        """
        await self._session.execute(_PATIENCE, {"milliseconds": str(patience_ms)})
        return (await self._session.execute(_QUEUES, {"most": MOST})).all()
