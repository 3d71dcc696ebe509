"""POST /auth/register, /auth/login and /auth/reauthenticate, GET /auth/profile; /auth/password and /auth/email."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail, PossibleCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Session
from health_services.api.openapi import errors
from health_services.api.origin import address_of
from health_services.api.problems import of_error
from health_services.auth import recovery, service, verification
from health_services.auth.schemas import (
    EmailVerification,
    PasswordChange,
    PasswordForgotten,
    PasswordReset,
    Reauthentication,
    UserLogin,
    UserRegister,
)
from health_services.errors import (
    AuthenticationException,
    EmailAlreadyRegisteredException,
    ReauthenticationRequiredException,
)
from health_services.second_factors.schemas import MfaRequired
from health_services.sessions.schemas import SignedIn
from health_services.sessions.transport import delivered, device_of, forget
from health_services.users.schemas import UserRead

router = APIRouter(prefix="/auth", tags=["Authentication"], route_class=GuardedRoute)


@router.post(
    "/register",
    summary="Register a new user",
    response_model=SignedIn,
    responses=errors(EmailAlreadyRegisteredException, ReauthenticationRequiredException),
)
@requires("auth:register")
async def register(
    request: Request,
    response: Response,
    session: Session,
    caller: PossibleCaller,
    trail: CurrentTrail,
    body: UserRegister,
    now: Now,
) -> Any:
    """Make an account and sign it in; a link to verify the e-mail address is mailed.

    The role `patient` (the default) also makes the patient record. An account with the role `doctor` has no doctor's
    rights until an administrator makes its doctor record. Only an administrator may give `staff` and `admin`.
    """
    device = device_of(request, body.refresh_in)
    signed_in = await service.register(session, request.app.state.gate, caller, trail, body, device, now)
    return delivered(request, response, signed_in)


@router.post(
    "/login", summary="Sign in", response_model=SignedIn | MfaRequired, responses=errors(wrong_credentials=True)
)
@requires("auth:login")
async def login(
    request: Request, response: Response, session: Session, trail: CurrentTrail, body: UserLogin, now: Now
) -> Any:
    """Sign in with e-mail and password; the answer to a wrong one never tells which of the two was wrong.

    An account with a second factor gets an `mfa_token` instead of the tokens: complete it with `/auth/login/mfa`.
    """
    state, device = request.app.state, device_of(request, body.refresh_in)
    outcome = await service.login(session, state.database.reading, state.gate, trail, body, device, now)
    if outcome is None:
        # not raised, so that what the owner is told is committed
        return of_error(AuthenticationException(service.WRONG))
    return delivered(request, response, outcome) if isinstance(outcome, SignedIn) else outcome


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


@router.post(
    "/reauthenticate",
    status_code=204,
    response_class=Response,
    summary="Prove once more who one is",
    responses=errors(),
)
@requires("auth:reauthenticate")
async def reauthenticate(
    request: Request, session: Session, caller: CurrentCaller, body: Reauthentication, now: Now
) -> None:
    """For ten minutes the session may change how one signs in. 403 for a wrong password or code.

    Who has a second factor sends a `code` of his authenticator app or a recovery code too; who has only passkeys signs
    in again with one.
    """
    await service.reauthenticate(session, request.app.state.gate, caller, address_of(request), body, now)


@router.post(
    "/password/change", status_code=204, response_class=Response, summary="Change one's password", responses=errors()
)
@requires("auth:password")
async def change_password(
    request: Request, response: Response, session: Session, caller: CurrentCaller, body: PasswordChange, now: Now
) -> None:
    """Every session ends, this one too: sign in again. 403 where the current password is wrong."""
    await recovery.change(session, request.app.state.gate, caller, address_of(request), body, now)
    forget(response)


@router.post(
    "/password/forgot",
    status_code=202,
    response_class=Response,
    summary="Ask for a link to a new password",
    responses=errors(),
)
@requires("auth:reset-password")
async def forget_password(
    request: Request, session: Session, trail: CurrentTrail, body: PasswordForgotten, now: Now
) -> None:
    """202 always, whether or not there is such an account. The link is mailed, and good for 30 minutes, once."""
    await recovery.forget(session, request.app.state.limiter, trail, body, address_of(request), now)


@router.post(
    "/password/reset",
    status_code=204,
    response_class=Response,
    summary="Set a new password by the mailed link",
    responses=errors(),
)
@requires("auth:reset-password")
async def reset_password(
    request: Request, session: Session, trail: CurrentTrail, body: PasswordReset, now: Now
) -> None:
    """Every session ends, and nobody is signed in; a second factor is still asked for at the next login.

    400 for a link that was used or has expired; a password that is refused leaves the link as it is.
    """
    await recovery.reset(session, request.app.state.gate.passwords, trail, body, now)


@router.post(
    "/email/verification",
    status_code=202,
    response_class=Response,
    summary="Ask for a link to verify one's e-mail address",
    responses=errors(),
)
@requires("auth:resend-verification")
async def resend_verification(request: Request, session: Session, caller: CurrentCaller, now: Now) -> None:
    """The link is mailed, and good for 24 hours, once; those of before end. Nothing where it is verified already."""
    await verification.send_again(session, request.app.state.limiter, caller, address_of(request), now)


@router.post(
    "/email/verify",
    status_code=204,
    response_class=Response,
    summary="Verify an e-mail address by the mailed link",
    responses=errors(),
)
@requires("auth:verify-email")
async def verify_email(session: Session, trail: CurrentTrail, body: EmailVerification) -> None:
    """400 for a link that was used or has expired, or that went to an address of before."""
    await verification.verify(session, trail, body)
