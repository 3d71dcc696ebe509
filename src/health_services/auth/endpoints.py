"""POST /auth/register, POST /auth/login, GET /auth/profile."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from health_services.access.dependencies import CurrentCaller, CurrentTrail, PossibleCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Session
from health_services.api.openapi import errors
from health_services.auth import service
from health_services.auth.schemas import UserLogin, UserRegister
from health_services.errors import EmailAlreadyRegisteredException
from health_services.sessions.schemas import SignedIn
from health_services.users.schemas import UserRead

router = APIRouter(prefix="/auth", tags=["Authentication"], route_class=GuardedRoute)


@router.post(
    "/register",
    summary="Register a new user",
    response_model=SignedIn,
    responses=errors(EmailAlreadyRegisteredException),
)
@requires("auth:register")
async def register(
    request: Request, session: Session, caller: PossibleCaller, trail: CurrentTrail, body: UserRegister, now: Now
) -> Any:
    """Make an account and sign it in.

    The role `patient` (the default) also makes the patient record. An account with the role `doctor` has no doctor's
    rights until an administrator makes its doctor record. Only an administrator may give `staff` and `admin`.
    """
    return await service.register(session, request.app.state.gate, caller, trail, body, now)


@router.post("/login", summary="Sign in", response_model=SignedIn, responses=errors(wrong_credentials=True))
@requires("auth:login")
async def login(request: Request, session: Session, trail: CurrentTrail, body: UserLogin, now: Now) -> Any:
    """Sign in with e-mail and password; the answer to a wrong one never tells which of the two was wrong."""
    state = request.app.state
    return await service.login(session, state.database.reading, state.gate, trail, body, now)


@router.get("/profile", summary="Show who is signed in", response_model=UserRead, responses=errors())
@requires("auth:profile")
async def profile(
    caller: CurrentCaller,
    token: Annotated[  # noqa: ARG001 - the route reads it; it is here for the documentation
        str | None, Query(deprecated=True, description="use the Authorization header instead")
    ] = None,
) -> Any:
    """The account of the token, as it is now."""
    return caller.account
