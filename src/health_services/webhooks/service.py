"""Keeping webhooks: who is told, of what, signed with which secret; and what was sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.outgoing.addresses import resolves_to_private
from health_services.pagination import Page
from health_services.webhooks import signing
from health_services.webhooks.models import Webhook
from health_services.webhooks.repository import DeliveryRepository, WebhookRepository
from health_services.webhooks.schemas import WebhookCreate, WebhookCreated, WebhookRead, WebhookSecret, WebhookUpdate

MOST_WEBHOOKS = 100
ROTATION_OVERLAP = timedelta(hours=24)
NO_WEBHOOK = "There is no such webhook."


async def create(
    session: AsyncSession, caller: Caller, request: WebhookCreate, *, server_secret: bytes
) -> WebhookCreated:
    """A new webhook; its secret is in this answer and nowhere else.

    Raises ConflictException beyond MOST_WEBHOOKS. The URL was found to be one that may be reached before.
    """
    await require_room(session)
    secret = signing.new_secret()
    row = await WebhookRepository(session).add(
        url=request.url,
        events=[event.value for event in request.events],
        secret=signing.seal(secret, server_secret),
        created_by=caller.id,
    )
    return WebhookCreated(**WebhookRead.model_validate(row).model_dump(), secret=secret)


async def require_room(session: AsyncSession) -> None:
    """Raise ConflictException if there are MOST_WEBHOOKS."""
    if await WebhookRepository(session).count_for_creating() >= MOST_WEBHOOKS:
        raise ConflictException(f"There are {MOST_WEBHOOKS} webhooks already; delete one first.")


async def require_reachable(url: str, *, allow_private: bool) -> None:
    """Raise ValidationException for what nothing is sent to; asks DNS, so no transaction may be open."""
    if allow_private:
        return
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise ValidationException.of("url", "must begin with https://")
    if await resolves_to_private(parts.hostname or ""):
        raise ValidationException.of("url", "must not lead to a private address")


async def read(session: AsyncSession, webhook_id: int) -> AnyRow:
    """One webhook; raises ResourceNotFoundException."""
    webhook = await WebhookRepository(session).get(webhook_id)
    if webhook is None:
        raise ResourceNotFoundException(NO_WEBHOOK)
    return webhook


async def update(session: AsyncSession, webhook_id: int, request: WebhookUpdate) -> Webhook:
    """Change what was sent; a webhook that is switched on again, or moves, gets at once what waits for it.

    That begins with a first attempt again, so that one more failure does not switch it off at once.

    Raises ResourceNotFoundException. The URL was found to be one that may be reached before.
    """
    changes = request.sent()
    webhook = await _locked(session, webhook_id)
    webhook.end_hold()
    is_mended = (changes.get("is_active") is True and not webhook.is_active) or "url" in changes
    for field, value in changes.items():
        setattr(webhook, field, [event.value for event in value] if field == "events" else value)
    if webhook.is_active:
        webhook.disabled_reason = None
    await session.flush()
    if is_mended:
        await DeliveryRepository(session).release(webhook_id)
    return webhook


async def rotate_secret(
    session: AsyncSession, webhook_id: int, now: datetime, *, server_secret: bytes
) -> WebhookSecret:
    """A new secret; the one before signs too for ROTATION_OVERLAP. Raises ResourceNotFoundException."""
    secret = signing.new_secret()
    sealed = signing.seal(secret, server_secret)
    if not await WebhookRepository(session).rotate(webhook_id, sealed, now + ROTATION_OVERLAP):
        raise ResourceNotFoundException(NO_WEBHOOK)
    return WebhookSecret(secret=secret)


async def delete(session: AsyncSession, webhook_id: int, now: datetime) -> None:
    """Send nothing any more, not even what waits; raises ResourceNotFoundException."""
    webhook = await _locked(session, webhook_id)
    webhook.deleted_at = now
    await session.flush()
    await DeliveryRepository(session).skip_all(webhook_id)


async def deliveries(session: AsyncSession, webhook_id: int, state: str | None, page: Page) -> Sequence[AnyRow]:
    """What was sent and what waits, newest first; raises ResourceNotFoundException."""
    await read(session, webhook_id)
    return await DeliveryRepository(session).of_webhook(webhook_id, state, page)


async def redeliver(session: AsyncSession, webhook_id: int, delivery_id: int) -> AnyRow:
    """Send once more, under the same id, with all the attempts of a new delivery.

    Raises ResourceNotFoundException; ConflictException while it is queued, once it is forgotten, or where the
    webhook is switched off.
    """
    webhook = await _locked(session, webhook_id)
    repository = DeliveryRepository(session)
    if await repository.get(webhook_id, delivery_id) is None:
        raise ResourceNotFoundException("There is no such delivery.")
    if not webhook.is_active:
        raise ConflictException("This webhook is switched off; switch it on first.")
    if not await repository.requeue(webhook_id, delivery_id):
        raise ConflictException("This delivery is queued already, or what it said is not kept any more.")
    webhook.end_hold()
    await session.flush()
    delivery = await repository.get(webhook_id, delivery_id)
    assert delivery is not None, "no delivery is ever removed"
    return delivery


async def _locked(session: AsyncSession, webhook_id: int) -> Webhook:
    webhook = await WebhookRepository(session).get_for_update(webhook_id)
    if webhook is None:
        raise ResourceNotFoundException(NO_WEBHOOK)
    return webhook
