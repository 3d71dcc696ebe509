"""Keeping the browsers that a person's messages are pushed to."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.outgoing.http import resolves_to_private
from health_services.pagination import Page
from health_services.push_subscriptions.repository import PushSubscriptionRepository
from health_services.push_subscriptions.schemas import PushSubscriptionCreate, PushSubscriptionRead

MOST_SUBSCRIPTIONS = 20


async def register(
    session: AsyncSession, caller: Caller, request: PushSubscriptionCreate, *, allow_private: bool
) -> PushSubscriptionRead:
    """Push the caller's messages to this browser; a known endpoint becomes his, whoever had it.

    Raises ValidationException for an endpoint that may not be reached, ConflictException beyond MOST_SUBSCRIPTIONS.
    """
    await _require_reachable(request.endpoint, allow_private=allow_private)
    subscriptions = PushSubscriptionRepository(session)
    if await subscriptions.others(caller.id, request.endpoint) >= MOST_SUBSCRIPTIONS:
        raise ConflictException(f"You have {MOST_SUBSCRIPTIONS} push subscriptions already; delete one first.")
    return _shown(await subscriptions.put(caller.id, request.endpoint, request.keys.p256dh, request.keys.auth))


async def _require_reachable(endpoint: str, *, allow_private: bool) -> None:
    """Refuse what nothing is sent to; asks DNS, so it comes before the first statement of a transaction."""
    if allow_private:
        return
    parts = urlsplit(endpoint)
    if parts.scheme != "https":
        raise ValidationException.of("endpoint", "must begin with https://")
    if await resolves_to_private(parts.hostname or ""):
        raise ValidationException.of("endpoint", "must not lead to a private address")


async def listed(session: AsyncSession, caller: Caller, page: Page) -> Sequence[PushSubscriptionRead]:
    """The caller's subscriptions by id, one more than the page holds."""
    return [_shown(row) for row in await PushSubscriptionRepository(session).list(caller.id, page)]


async def remove(session: AsyncSession, caller: Caller, subscription_id: int) -> None:
    """Push nothing more to this browser; raises ResourceNotFoundException, also for another's."""
    if not await PushSubscriptionRepository(session).remove(subscription_id, caller.id):
        raise ResourceNotFoundException("You have no such push subscription.")


def _shown(row: AnyRow) -> PushSubscriptionRead:
    host = urlsplit(row.endpoint).hostname or ""
    return PushSubscriptionRead(id=row.id, endpoint_host=host, created_at=row.created_at)
