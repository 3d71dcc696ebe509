"""/users/me/calendar-feed and /calendar/{token}.ics."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import DefaultLocale, Now, Session
from health_services.api.openapi import errors
from health_services.calendars import service
from health_services.calendars.schemas import CalendarFeedCreated, CalendarFeedRead
from health_services.errors import ResourceNotFoundException

feed_router = APIRouter(prefix="/users/me/calendar-feed", tags=["Calendar"], route_class=GuardedRoute)
router = APIRouter(prefix="/calendar", tags=["Calendar"], route_class=GuardedRoute)

_EXAMPLE = "\r\n".join(
    [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//health-services//calendar//EN", "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH", "BEGIN:VEVENT", "SUMMARY:Appointment: Grace Okafor", "DTSTART:20300301T100000Z",
        "DTEND:20300301T103000Z", "DTSTAMP:20260301T100000Z",
        "UID:appointment-1@9f0c5b1e-6f0f-4f0e-8d6e-0d6f6f1f2a3b", "SEQUENCE:0", "STATUS:CONFIRMED", "END:VEVENT",
        "END:VCALENDAR", "",
    ]
)  # fmt: skip


# What an endpoint declares that answers with a calendar.
CALENDAR: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "An iCalendar object (RFC 5545)",
        "content": {"text/calendar": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}


def calendar_answer(content: bytes) -> Response:
    """The answer that carries an iCalendar object, `text/calendar; charset=utf-8`."""
    return Response(content, media_type="text/calendar")


@feed_router.post(
    "", status_code=201, summary="Get a calendar feed", response_model=CalendarFeedCreated, responses=errors()
)
@requires("calendar-feed:write")
async def create_calendar_feed(session: Session, caller: CurrentCaller, request: Request) -> Any:
    """An address that calendar programs can subscribe to, shown this once; the caller's address before it ends."""
    token = await service.open_feed(session, caller)
    base = request.app.state.settings.public_url or str(request.base_url)
    path = request.app.url_path_for(read_calendar.__name__, token=token)
    return CalendarFeedCreated(url=base.rstrip("/") + path, token=token)


@feed_router.get(
    "",
    summary="See whether you have a calendar feed",
    response_model=CalendarFeedRead,
    responses=errors(ResourceNotFoundException),
)
@requires("calendar-feed:read")
async def get_calendar_feed(session: Session, caller: CurrentCaller) -> Any:
    """Since when the caller's address is valid; the address itself is not kept."""
    return await service.read_feed(session, caller)


@feed_router.delete("", status_code=204, response_class=Response, summary="End your calendar feed", responses=errors())
@requires("calendar-feed:write")
async def delete_calendar_feed(session: Session, caller: CurrentCaller) -> None:
    """The address opens nothing from now on; also if there was none."""
    await service.close_feed(session, caller)


@router.get(
    "/{token}.ics",
    summary="Read a calendar feed",
    response_class=Response,
    responses=CALENDAR | errors(ResourceNotFoundException),
)
@requires("calendar:read")
async def read_calendar(
    session: Session,
    trail: CurrentTrail,
    token: Annotated[str, Path(description="the token of a feed")],
    now: Now,
    locale: DefaultLocale,
) -> Any:
    """The owner's appointments from 90 days ago on, cancelled ones included; the address is the right to read it.

    A doctor's own appointments bear no names, for calendars are copied to other companies' servers.
    """
    return calendar_answer(await service.feed(session, trail, token, now, locale))
