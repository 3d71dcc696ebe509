"""POST /auth/refresh, /auth/logout and /auth/logout-all; /auth/sessions."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Listing, Now, Session, listed_by
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.api.problems import of_error
from health_services.errors import AuthenticationException, AuthorizationException, ResourceNotFoundException
from health_services.sessions import service
from health_services.sessions.schemas import RefreshTokenGiven, SessionRead, SignedIn
from health_services.sessions.transport import delivered, device_of, forget, lifetimes_of, shown

router = APIRouter(prefix="/auth", tags=["Authentication"], route_class=GuardedRoute)


@router.post(
    "/refresh",
    summary="Carry a session on",
    response_model=SignedIn,
    responses=errors(AuthorizationException, wrong_credentials=True),
)
@requires("auth:refresh")
async def refresh(
    request: Request,
    response: Response,
    session: Session,
    trail: CurrentTrail,
    now: Now,
    body: RefreshTokenGiven | None = None,
) -> Any:
    """A new access token, and a new refresh token in place of the one that is sent, which works once.

    Sent again by the same client within 10 seconds it gets the same answer's token; later it ends the session, since
    somebody else must have it too. A cookie counts only with `X-CSRF-Token`.
    """
    given = shown(request, body)
    signed_in = await service.refresh(session, lifetimes_of(request), trail, given, device_of(request), now)
    if signed_in is None:
        # not raised, so that the end of the session is committed
        return of_error(AuthenticationException(service.REFUSED))
    return delivered(request, response, signed_in)


@router.post(
    "/logout",
    status_code=204,
    response_class=Response,
    summary="End a session",
    responses=errors(AuthorizationException),
)
@requires("auth:logout")
async def logout(
    request: Request,
    response: Response,
    session: Session,
    trail: CurrentTrail,
    now: Now,
    body: RefreshTokenGiven | None = None,
) -> None:
    """The session of the refresh token ends at once, its access tokens included; 204 for an unknown one too."""
    await service.sign_out(session, lifetimes_of(request), trail, shown(request, body), now)
    forget(response)


@router.post(
    "/logout-all", status_code=204, response_class=Response, summary="End all of one's sessions", responses=errors()
)
@requires("auth:sessions")
async def logout_all(response: Response, session: Session, caller: CurrentCaller, now: Now) -> None:
    """Every session of the caller ends at once, on every device, this one too."""
    await service.sign_out_everywhere(session, caller, now)
    forget(response)


@router.get("/sessions", summary="List one's sessions", response_model=list[SessionRead], responses=errors())
@requires("auth:sessions")
async def list_sessions(
    session: Session, caller: CurrentCaller, now: Now, listing: Annotated[Listing, listed_by("last_used_at", "id")]
) -> Any:
    """Where the caller is signed in, the session used last first."""
    return listing.answer(await service.list_own(session, caller, now, listing.page))


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    response_class=Response,
    summary="End one of one's sessions",
    responses=errors(ResourceNotFoundException),
)
@requires("auth:sessions")
async def end_session(session: Session, caller: CurrentCaller, session_id: IdInUrl, now: Now) -> None:
    """It ends at once, its access tokens included."""
    await service.end_own(session, caller, session_id, now)
