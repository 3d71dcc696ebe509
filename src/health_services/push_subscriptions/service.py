"""Keeping the browsers that a person's messages are pushed to."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.outgoing.addresses import resolves_to_private
from health_services.pagination import Page
from health_services.push_subscriptions.repository import PushSubscriptionRepository
from health_services.push_subscriptions.schemas import PushSubscriptionCreate, PushSubscriptionRead

MOST_SUBSCRIPTIONS = 20


async def register(session: AsyncSession, caller: Caller, request: PushSubscriptionCreate) -> PushSubscriptionRead:
    """Push the caller's messages to this browser; a known endpoint becomes his, whoever had it.

    Raises ConflictException beyond MOST_SUBSCRIPTIONS. The endpoint was found to be a public one before.
    """
    await require_room(session, caller, request.endpoint)
    keys = request.keys
    return _shown(await PushSubscriptionRepository(session).put(caller.id, request.endpoint, keys.p256dh, keys.auth))


async def require_room(session: AsyncSession, caller: Caller, endpoint: str) -> None:
    """Raise ConflictException if the endpoint would be one more than MOST_SUBSCRIPTIONS."""
    if await PushSubscriptionRepository(session).others(caller.id, endpoint) >= MOST_SUBSCRIPTIONS:
        raise ConflictException(f"You have {MOST_SUBSCRIPTIONS} push subscriptions already; delete one first.")


async def require_public(endpoint: str) -> None:
    """Raise ValidationException for what nothing is sent to; asks DNS, so no transaction may be open."""
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
