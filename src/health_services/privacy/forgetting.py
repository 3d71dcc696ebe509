"""SQL of forgetting what is old: some rows at a time, past those that somebody else is at."""

from datetime import timedelta

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

# With their refresh tokens.
ENDED_SESSIONS = text(
    """DELETE FROM sessions WHERE id IN (
           SELECT id FROM sessions WHERE ended_at < now() - CAST(:keep AS interval)
           ORDER BY ended_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
)
EXPIRED_SESSIONS = text(
    """DELETE FROM sessions WHERE id IN (
           SELECT id FROM sessions WHERE ended_at IS NULL AND expires_at < now() - CAST(:keep AS interval)
           ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
)
ONE_TIME_TOKENS = text(
    """DELETE FROM one_time_tokens WHERE token_hash IN (
           SELECT token_hash FROM one_time_tokens WHERE expires_at < now() - CAST(:keep AS interval)
           ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
)
MESSAGES = text(
    """UPDATE notifications SET data = '{}' WHERE id IN (
           SELECT id FROM notifications
           WHERE data <> '{}'::jsonb AND state <> 'queued' AND created_at < now() - CAST(:keep AS interval)
           ORDER BY created_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED)"""
)
DELIVERIES = text(
    """UPDATE webhook_deliveries SET body = '' WHERE id IN (
           SELECT id FROM webhook_deliveries
           WHERE body <> '' AND state <> 'queued' AND created_at < now() - CAST(:keep AS interval)
           ORDER BY created_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED)"""
)
# Its webhook was switched off for so long that nobody waits for it any more.
UNSENT_DELIVERIES = text(
    """UPDATE webhook_deliveries
       SET state = 'skipped', last_error = 'it waited too long', body = '', updated_at = now()
       WHERE id IN (
           SELECT id FROM webhook_deliveries
           WHERE state = 'queued' AND webhook_id = ANY (ARRAY(SELECT w.id FROM webhooks w))
             AND next_attempt_at < now() - CAST(:keep AS interval)
           ORDER BY next_attempt_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED)"""
)


async def forget_old(session: AsyncSession, what: TextClause, keep: timedelta, most: int) -> int:
    """Forget up to so many rows that are older than `keep`; how many there were."""
    result = await session.execute(what, {"keep": keep, "most": most})
    return int(getattr(result, "rowcount", 0))
