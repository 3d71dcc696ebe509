"""/notifications: what was sent to whom, what failed, and whom to call."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Listing, Now, Paging, Session, listed_by
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.notifications import service
from health_services.notifications.models import Channel, Kind, State
from health_services.notifications.schemas import NotificationRead, UnreachableRead

router = APIRouter(prefix="/notifications", tags=["Notifications"], route_class=GuardedRoute)


@router.get("", summary="List messages", response_model=list[NotificationRead], responses=errors())
@requires("notifications:read")
async def list_notifications(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    state: Annotated[State | None, Query()] = None,
    kind: Annotated[Kind | None, Query()] = None,
    channel: Annotated[Channel | None, Query()] = None,
) -> Any:
    """Every message to everybody, by id; administrators. What failed is held here until somebody looks at it."""
    return listing.answer(await service.list_all(session, caller, (state, kind, channel), listing.page))


@router.get("/unreachable", summary="List people to call", response_model=list[UnreachableRead], responses=errors())
@requires("notifications:unreachable")
async def list_unreachable(
    session: Session,
    caller: CurrentCaller,
    listing: Annotated[Listing, listed_by("useful_until", "notification_id")],
    now: Now,
) -> Any:
    """People whom no channel reached, while it still matters, the most urgent first.

    Administrators, and staff for their clinics.
    """
    return listing.answer(await service.list_unreachable(session, caller, now, listing.page))


@router.post(
    "/{notification_id}/retry",
    summary="Try a message again",
    response_model=NotificationRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("notifications:write")
async def retry_notification(session: Session, caller: CurrentCaller, notification_id: IdInUrl, now: Now) -> Any:
    """Send a message that has failed once more, as soon as the worker comes to it; administrators."""
    return await service.retry(session, caller, notification_id, now)
