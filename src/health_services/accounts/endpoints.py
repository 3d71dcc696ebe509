"""/users, and /users/me."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.accounts import service
from health_services.accounts.schemas import OwnUserUpdate, UserUpdate
from health_services.api.dependencies import Now, Paging, Session
from health_services.api.fields import IdInUrl, TruthInUrl
from health_services.api.openapi import errors
from health_services.api.origin import address_of
from health_services.errors import (
    ConflictException,
    EmailAlreadyRegisteredException,
    ReauthenticationRequiredException,
    ResourceNotFoundException,
)
from health_services.users.models import Role
from health_services.users.schemas import UserRead

router = APIRouter(prefix="/users", tags=["Users"], route_class=GuardedRoute)


@router.get("/me", summary="Show one's own account", response_model=UserRead, responses=errors())
@requires("users:me")
async def get_own_user(caller: CurrentCaller) -> Any:
    """The caller's account, as it is now; no API key reaches it."""
    return caller.account


@router.put(
    "/me",
    summary="Update one's own account",
    response_model=UserRead,
    responses=errors(EmailAlreadyRegisteredException, ReauthenticationRequiredException),
)
@requires("users:me")
async def update_own_user(
    request: Request, session: Session, caller: CurrentCaller, body: OwnUserUpdate, now: Now
) -> Any:
    """Changes what is sent; the name of a doctor changes in the directory too.

    Another e-mail address needs a proof of who you are that is at most 10 minutes old. It is unverified until the link
    that is mailed to it is followed; the address of before is told, and links that were mailed there end.
    """
    return await service.update_own(session, caller, request.app.state.limiter, address_of(request), body, now)


@router.get("", summary="List users", response_model=list[UserRead], responses=errors())
@requires("users:read")
async def list_users(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    role: Annotated[Role | None, Query()] = None,
    is_active: Annotated[TruthInUrl | None, Query()] = None,
) -> Any:
    """Administrators only; by id, also people without a login. Names are searched by POST /patients/search."""
    return listing.answer(await service.all_accounts(session, caller, role, is_active, listing.page))


@router.get("/{user_id}", summary="Get a user", response_model=UserRead, responses=errors(ResourceNotFoundException))
@requires("users:read")
async def get_user(session: Session, caller: CurrentCaller, user_id: IdInUrl) -> Any:
    """Administrators only."""
    return await service.read(session, caller, user_id)


@router.put(
    "/{user_id}",
    summary="Update a user",
    response_model=UserRead,
    responses=errors(ResourceNotFoundException, ConflictException, ReauthenticationRequiredException),
)
@requires("users:write")
async def update_user(session: Session, caller: CurrentCaller, user_id: IdInUrl, body: UserUpdate, now: Now) -> Any:
    """Administrators only. Another role, or `is_active: false`, ends all of the user's sessions at once.

    The last active administrator stays one, and a doctor stays a doctor while the doctor record is active. Who leaves
    the role `staff` leaves the clinics too. To make somebody an administrator, prove who you are anew.
    """
    return await service.update(session, caller, user_id, body, now)


@router.delete(
    "/{user_id}/sessions",
    status_code=204,
    response_class=Response,
    summary="Sign a user out everywhere",
    responses=errors(ResourceNotFoundException),
)
@requires("users:write")
async def end_user_sessions(session: Session, caller: CurrentCaller, user_id: IdInUrl, now: Now) -> None:
    """Administrators only. Every session of the user ends at once; API keys stay."""
    await service.end_sessions(session, caller, user_id, now)
