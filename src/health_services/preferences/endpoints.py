"""/users/me/preferences, and the link that stops messages."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import DefaultLocale, Now, Session
from health_services.api.openapi import errors
from health_services.errors import ResourceNotFoundException
from health_services.notifications.unsubscribing import UnsubscribeLinks
from health_services.preferences import page, service
from health_services.preferences.schemas import PreferencesRead, PreferencesUpdate

router = APIRouter(prefix="/users/me/preferences", tags=["Notifications"], route_class=GuardedRoute)
unsubscribe_router = APIRouter(prefix="/unsubscribe", tags=["Notifications"], route_class=GuardedRoute)

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page for a person", "content": {"text/html": {"schema": {"type": "string"}}}}
}

# Told to callers, but not checked: whatever is no token of ours opens nothing, and is not found.
LinkToken = Annotated[
    str, Path(description="the token of a link in a mail", json_schema_extra={"pattern": "^[A-Za-z0-9_-]+$"})
]


@router.get("", summary="See how you are told", response_model=PreferencesRead, responses=errors())
@requires("preferences:read")
async def get_preferences(session: Session, caller: CurrentCaller) -> Any:
    """The caller's channels, reminders, quiet hours, time zone and language."""
    return await service.read(session, caller.id)


@router.put("", summary="Choose how you are told", response_model=PreferencesRead, responses=errors())
@requires("preferences:write")
async def update_preferences(session: Session, caller: CurrentCaller, body: PreferencesUpdate, now: Now) -> Any:
    """Changes what is sent; reminders that are still to come follow at once. Security mails cannot be switched off."""
    return await service.update(session, caller.id, body, now)


@unsubscribe_router.get(
    "/{token}",
    summary="Ask before messages are stopped",
    response_class=Response,
    responses=_PAGE | errors(ResourceNotFoundException),
)
@requires("unsubscribe")
async def ask_to_unsubscribe(
    session: Session, trail: CurrentTrail, request: Request, token: LinkToken, locale: DefaultLocale
) -> Any:
    """The page behind the link in a mail: it asks, since programs follow links too; nothing changes."""
    links: UnsubscribeLinks = request.app.state.links
    user_id, kind = service.meant(links, token, trail)
    return page.question(await service.speaker(session, user_id, locale), kind)


@unsubscribe_router.post(
    "/{token}",
    summary="Stop messages of one kind",
    response_class=Response,
    responses=_PAGE | errors(ResourceNotFoundException),
)
@requires("unsubscribe")
async def unsubscribe(
    session: Session, trail: CurrentTrail, request: Request, token: LinkToken, now: Now, locale: DefaultLocale
) -> Any:
    """One click, by a person on that page or by a mail program (RFC 8058), stops them on every channel; no sign-in."""
    links: UnsubscribeLinks = request.app.state.links
    user_id, kind = service.meant(links, token, trail)
    await service.unsubscribe(session, user_id, kind, now)
    return page.done(await service.speaker(session, user_id, locale), kind)
