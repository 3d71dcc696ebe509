"""/auth/login/mfa, /auth/login/passkey, /auth/mfa, /auth/passkeys and DELETE /users/{id}/second-factors."""

from typing import Any

from fastapi import APIRouter, Request, Response

from health_services.access.dependencies import CurrentCaller, CurrentTrail
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import ConflictException, ReauthenticationRequiredException, ResourceNotFoundException
from health_services.second_factors import enrolment, service
from health_services.second_factors.relying_party import RelyingParty, issuer_of
from health_services.second_factors.repository import SecondFactorRepository
from health_services.second_factors.schemas import (
    MfaLogin,
    PasskeyCreate,
    PasskeyLogin,
    PasskeyOptions,
    PasskeyRead,
    RecoveryCodes,
    TotpBegun,
    TotpConfirm,
)
from health_services.second_factors.service import Entrance
from health_services.sessions.schemas import SignedIn
from health_services.sessions.transport import delivered, device_of, lifetimes_of

router = APIRouter(prefix="/auth", tags=["Authentication"], route_class=GuardedRoute)
user_router = APIRouter(prefix="/users", tags=["Users"], route_class=GuardedRoute)


def _relying_party(request: Request) -> RelyingParty:
    return RelyingParty.of(request.app.state.settings)


def _entrance(request: Request) -> Entrance:
    state = request.app.state
    return Entrance(state.database.reading, state.limiter, lifetimes_of(request), _relying_party(request))


@router.post(
    "/login/mfa",
    summary="Complete signing in with a second factor",
    response_model=SignedIn,
    responses=errors(wrong_credentials=True),
)
@requires("auth:login")
async def login_mfa(
    request: Request, response: Response, session: Session, trail: CurrentTrail, body: MfaLogin, now: Now
) -> Any:
    """With the `mfa_token` of the login, and one of its `methods`.

    `code`: what the authenticator app shows, or a recovery code; each works once. `passkey`: what a browser gave for
    options of `POST /auth/login/passkey/options`. After five attempts the password is asked again.
    """
    return delivered(request, response, await service.login(session, _entrance(request), trail, body, now))


@router.post(
    "/login/passkey/options",
    summary="Begin to sign in with a passkey",
    response_model=PasskeyOptions,
    responses=errors(ConflictException),
)
@requires("auth:login")
async def begin_passkey_login(request: Request, session: Session, now: Now) -> Any:
    """Options for `navigator.credentials.get`, good for 5 minutes and one answer; nobody says who he is yet."""
    return await service.begin_passkey_login(session, _relying_party(request), now)


@router.post(
    "/login/passkey",
    summary="Sign in with a passkey",
    response_model=SignedIn,
    responses=errors(wrong_credentials=True),
)
@requires("auth:login")
async def login_by_passkey(
    request: Request, response: Response, session: Session, trail: CurrentTrail, body: PasskeyLogin, now: Now
) -> Any:
    """Without a password. A passkey is two factors, since the device asks who uses it: no other is asked."""
    device = device_of(request, body.refresh_in)
    signed_in = await service.login_by_passkey(session, _entrance(request), trail, body.credential, device, now)
    return delivered(request, response, signed_in)


@router.post(
    "/mfa/totp",
    summary="Begin to use an authenticator app",
    response_model=TotpBegun,
    responses=errors(ReauthenticationRequiredException),
)
@requires("auth:second-factors")
async def begin_totp(request: Request, session: Session, caller: CurrentCaller, now: Now) -> Any:
    """A secret for the app (RFC 6238), shown this once; it counts once `/auth/mfa/totp/confirm` has its first code.

    Within ten minutes of signing in. An app that was set up before goes on working until then.
    """
    return await enrolment.begin_totp(session, caller, issuer_of(request.app.state.settings), now)


@router.post(
    "/mfa/totp/confirm",
    summary="Use the authenticator app from now on",
    response_model=RecoveryCodes,
    responses=errors(ReauthenticationRequiredException, ConflictException),
)
@requires("auth:second-factors")
async def confirm_totp(session: Session, caller: CurrentCaller, body: TotpConfirm, now: Now) -> Any:
    """Answers ten recovery codes, shown this once; any before work no more. Within ten minutes of signing in."""
    return await enrolment.confirm_totp(session, caller, body.code.get_secret_value(), now)


@router.delete(
    "/mfa/totp",
    status_code=204,
    response_class=Response,
    summary="Remove the authenticator app",
    responses=errors(ReauthenticationRequiredException, ResourceNotFoundException, ConflictException),
)
@requires("auth:second-factors")
async def remove_totp(request: Request, session: Session, caller: CurrentCaller, now: Now) -> None:
    """Within ten minutes of signing in. Who must have a second factor keeps the last one."""
    await enrolment.remove_totp(session, caller, request.app.state.settings.require_mfa_roles, now)


@router.post(
    "/mfa/recovery-codes",
    summary="Make new recovery codes",
    response_model=RecoveryCodes,
    responses=errors(ReauthenticationRequiredException, ConflictException),
)
@requires("auth:second-factors")
async def replace_recovery_codes(session: Session, caller: CurrentCaller, now: Now) -> Any:
    """Ten, shown this once; any before work no more. Within ten minutes of signing in."""
    return await enrolment.replace_recovery_codes(session, caller, now)


@router.post(
    "/passkeys/options",
    summary="Begin to make a passkey",
    response_model=PasskeyOptions,
    responses=errors(ReauthenticationRequiredException, ConflictException),
)
@requires("auth:second-factors")
async def begin_passkey(request: Request, session: Session, caller: CurrentCaller, now: Now) -> Any:
    """Options for `navigator.credentials.create`, good for 5 minutes and one answer. Within ten minutes of signing in.

    The device must keep the passkey itself and ask its owner to unlock it. 20 at most.
    """
    return await enrolment.begin_passkey(session, caller, _relying_party(request), now)


@router.post(
    "/passkeys",
    status_code=201,
    summary="Keep a passkey",
    response_model=PasskeyRead,
    responses=errors(ReauthenticationRequiredException, ConflictException),
)
@requires("auth:second-factors")
async def create_passkey(
    request: Request, session: Session, caller: CurrentCaller, body: PasskeyCreate, now: Now
) -> Any:
    """What the browser made of the options. From now on it signs in, also as second factor after the password."""
    return await enrolment.add_passkey(session, caller, _relying_party(request), body, now)


@router.get("/passkeys", summary="List one's passkeys", response_model=list[PasskeyRead], responses=errors())
@requires("auth:second-factors")
async def list_passkeys(session: Session, caller: CurrentCaller) -> Any:
    """All of the caller's, by id; 20 at most."""
    return await SecondFactorRepository(session).passkeys(caller.id)


@router.delete(
    "/passkeys/{passkey_id}",
    status_code=204,
    response_class=Response,
    summary="Remove a passkey",
    responses=errors(ReauthenticationRequiredException, ResourceNotFoundException, ConflictException),
)
@requires("auth:second-factors")
async def remove_passkey(
    request: Request, session: Session, caller: CurrentCaller, passkey_id: IdInUrl, now: Now
) -> None:
    """Within ten minutes of signing in. Who must have a second factor keeps the last one."""
    await enrolment.remove_passkey(session, caller, passkey_id, request.app.state.settings.require_mfa_roles, now)


@user_router.delete(
    "/{user_id}/second-factors",
    status_code=204,
    response_class=Response,
    summary="Remove somebody's lost second factors",
    responses=errors(ReauthenticationRequiredException, ResourceNotFoundException, ConflictException),
)
@requires("users:write")
async def remove_second_factors(session: Session, caller: CurrentCaller, user_id: IdInUrl, now: Now) -> None:
    """Administrators only, within ten minutes of signing in, and for others only: all factors, and all sessions end.

    The person is told. His password alone signs him in then, so make sure that it is he who asks.
    """
    await enrolment.remove_lost(session, caller, user_id, now)
