"""/webhooks and /webhooks/{id}/deliveries."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.releasing import released
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Paging, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.webhooks import service
from health_services.webhooks.repository import WebhookRepository
from health_services.webhooks.schemas import (
    DeliveryRead,
    DeliveryState,
    WebhookCreate,
    WebhookCreated,
    WebhookRead,
    WebhookSecret,
    WebhookUpdate,
)

router = APIRouter(prefix="/webhooks", tags=["Webhooks"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=201,
    summary="Create a webhook",
    response_model=WebhookCreated,
    responses=errors(ConflictException),
)
@requires("webhooks:write")
async def create_webhook(request: Request, session: Session, caller: CurrentCaller, body: WebhookCreate) -> Any:
    """Administrators only. From now on each of the events is posted to the URL as `{type, timestamp, data}`.

    Messages are signed as [Standard Webhooks](https://www.standardwebhooks.com) says: give its library the `secret`,
    which is shown this once. Any answer of 2xx is success; redirects are not followed. What fails is sent again nine
    times within three days, under the same `webhook-id`: it may come twice, so remember the id. Those of one
    appointment or slot come in their order. `data` is the resource as the API shows it, without clinical text.
    """
    state = request.app.state
    await service.require_room(session)
    async with released(session, caller):  # DNS
        await service.require_reachable(body.url, allow_private=state.settings.webhook_allow_private)
    return await service.create(session, caller, body, server_secret=state.tokens.secret)


@router.get("", summary="List webhooks", response_model=list[WebhookRead], responses=errors())
@requires("webhooks:read")
async def list_webhooks(session: Session, listing: Paging) -> Any:
    """Administrators only; by id, those that are switched off too."""
    return listing.answer(await WebhookRepository(session).all(listing.page))


@router.get(
    "/{webhook_id}",
    summary="Get a webhook",
    response_model=WebhookRead,
    responses=errors(ResourceNotFoundException),
)
@requires("webhooks:read")
async def get_webhook(session: Session, webhook_id: IdInUrl) -> Any:
    """Administrators only."""
    return await service.read(session, webhook_id)


@router.put(
    "/{webhook_id}",
    summary="Update a webhook",
    response_model=WebhookRead,
    responses=errors(ResourceNotFoundException),
)
@requires("webhooks:write")
async def update_webhook(
    request: Request, session: Session, caller: CurrentCaller, webhook_id: IdInUrl, body: WebhookUpdate
) -> Any:
    """Administrators only. Changes what is sent; what is queued already goes out whatever the events are now.

    While a webhook is switched off, nothing new is queued for it. Switching it on, or another URL, sends what waits.
    """
    if "url" in body.sent():
        async with released(session, caller):  # DNS
            allow_private = request.app.state.settings.webhook_allow_private
            await service.require_reachable(body.url, allow_private=allow_private)
    return await service.update(session, webhook_id, body)


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Give a webhook a new secret",
    response_model=WebhookSecret,
    responses=errors(ResourceNotFoundException),
)
@requires("webhooks:write")
async def rotate_webhook_secret(request: Request, session: Session, webhook_id: IdInUrl, now: Now) -> Any:
    """Administrators only. The new secret is shown this once; the one before signs too for 24 hours."""
    return await service.rotate_secret(session, webhook_id, now, server_secret=request.app.state.tokens.secret)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a webhook",
    responses=errors(ResourceNotFoundException),
)
@requires("webhooks:write")
async def delete_webhook(session: Session, webhook_id: IdInUrl, now: Now) -> None:
    """Administrators only; what is still queued is not sent any more."""
    await service.delete(session, webhook_id, now)


@router.get(
    "/{webhook_id}/deliveries",
    summary="List a webhook's deliveries",
    response_model=list[DeliveryRead],
    responses=errors(ResourceNotFoundException),
)
@requires("webhooks:read")
async def list_webhook_deliveries(
    session: Session,
    listing: Paging,
    webhook_id: IdInUrl,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> Any:
    """Administrators only; newest first: by id, descending."""
    return listing.answer(await service.deliveries(session, webhook_id, state, listing.page))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    summary="Send a delivery again",
    response_model=DeliveryRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("webhooks:write")
async def redeliver_webhook_delivery(session: Session, webhook_id: IdInUrl, delivery_id: IdInUrl) -> Any:
    """Administrators only. It is queued again with the same `webhook-id`, body and number of attempts to come."""
    return await service.redeliver(session, webhook_id, delivery_id)
