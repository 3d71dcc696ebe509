"""/push/key and /users/me/push-subscriptions."""

from typing import Any

from fastapi import APIRouter, Request, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.releasing import released
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Paging, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.push_subscriptions import service
from health_services.push_subscriptions.schemas import PushKeyRead, PushSubscriptionCreate, PushSubscriptionRead

key_router = APIRouter(prefix="/push", tags=["Notifications"], route_class=GuardedRoute)
router = APIRouter(prefix="/users/me/push-subscriptions", tags=["Notifications"], route_class=GuardedRoute)


@key_router.get("/key", summary="Show the key of Web Push", response_model=PushKeyRead, responses=errors())
@requires("push:key")
async def get_push_key(request: Request) -> Any:
    """Any account: the `applicationServerKey` that a browser subscribes with."""
    return PushKeyRead(public_key=request.app.state.push_key)


@router.post(
    "",
    status_code=201,
    summary="Add a push subscription",
    response_model=PushSubscriptionRead,
    responses=errors(ConflictException),
)
@requires("push-subscriptions:write")
async def create_push_subscription(session: Session, caller: CurrentCaller, body: PushSubscriptionCreate) -> Any:
    """Any account, for itself: a browser's `PushSubscription.toJSON()`.

    An endpoint that is known already becomes the caller's, with the new keys. 20 at most.
    """
    await service.require_room(session, caller, body.endpoint)
    async with released(session, caller):  # DNS
        await service.require_public(body.endpoint)
    return await service.register(session, caller, body)


@router.get("", summary="List one's push subscriptions", response_model=list[PushSubscriptionRead], responses=errors())
@requires("push-subscriptions:read")
async def list_push_subscriptions(session: Session, caller: CurrentCaller, listing: Paging) -> Any:
    """Any account: its own, by id, without what messages could be sent with."""
    return listing.answer(await service.listed(session, caller, listing.page))


@router.delete(
    "/{subscription_id}",
    status_code=204,
    response_class=Response,
    summary="Remove a push subscription",
    responses=errors(ResourceNotFoundException),
)
@requires("push-subscriptions:write")
async def delete_push_subscription(session: Session, caller: CurrentCaller, subscription_id: IdInUrl) -> None:
    """Any account: one of its own; nothing is pushed to that browser any more."""
    await service.remove(session, caller, subscription_id)
