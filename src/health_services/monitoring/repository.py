"""SQL of the queues' state."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow

# Only what waits or failed is counted, in partial indexes and no further than MOST, so that asking stays cheap however
# many messages there were and are to come. The order makes sure of the index: with a bound alone, all is read.
MOST = 10_000
_QUEUES = text(
    """SELECT 'notifications' AS queue, c.channel,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'queued' AND n.channel = c.channel
                                     AND n.next_attempt_at <= now()
                                     ORDER BY n.next_attempt_at LIMIT :most) AS d) AS due,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'queued' AND n.channel = c.channel
                                     ORDER BY n.next_attempt_at LIMIT :most) AS q) AS queued,
              (SELECT EXTRACT(epoch FROM now() - min(n.next_attempt_at))::float FROM notifications n
               WHERE n.state = 'queued' AND n.channel = c.channel) AS oldest_seconds,
              (SELECT count(*) FROM (SELECT FROM notifications n WHERE n.state = 'failed' AND n.channel = c.channel
                                     ORDER BY n.id LIMIT :most) AS f) AS failed
       FROM unnest(ARRAY['email', 'sms', 'push']) AS c (channel)
       UNION ALL
       SELECT 'webhooks', 'http', sum(w.due), sum(w.queued), max(w.oldest_seconds),
              (SELECT count(*) FROM (SELECT FROM webhook_deliveries d WHERE d.state = 'failed'
                                     ORDER BY d.id LIMIT :most) AS f)
       FROM (SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                                           WHERE d.webhook_id = h.id AND d.state = 'queued'
                                             AND d.next_attempt_at <= now()
                                           ORDER BY d.next_attempt_at LIMIT :most) AS d) AS due,
                    (SELECT count(*) FROM (SELECT FROM webhook_deliveries d
                                           WHERE d.webhook_id = h.id AND d.state = 'queued'
                                           ORDER BY d.next_attempt_at LIMIT :most) AS q) AS queued,
                    (SELECT EXTRACT(epoch FROM now() - min(d.next_attempt_at))::float FROM webhook_deliveries d
                     WHERE d.webhook_id = h.id AND d.state = 'queued') AS oldest_seconds
             FROM webhooks h WHERE h.is_active AND h.deleted_at IS NULL) AS w
       ORDER BY 1, 2"""
)


class QueueRepository:
    """The state of all that waits to be sent."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def queues(self) -> Sequence[AnyRow]:
        """For each queue and channel: `due`, `queued`, `failed`, and how late the oldest is, in seconds.

        Counts end at MOST; the lateness is negative if all lies ahead, and null where nothing waits.
        """
        return (await self._session.execute(_QUEUES, {"most": MOST})).all()
