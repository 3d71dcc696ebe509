"""Signing in with a second factor, or with a passkey alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, act_as
from health_services.access.trail import Trail
from health_services.announcements.service import of_account
from health_services.database.base import AnyRow
from health_services.errors import AuthenticationException
from health_services.limits.limiter import Limiter
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.second_factors import recovery, totp
from health_services.second_factors.relying_party import (
    TIMEOUT_SECONDS,
    Credential,
    RelyingParty,
    UnprovenError,
    challenge_of,
    credential_id_of,
)
from health_services.second_factors.repository import SecondFactorRepository
from health_services.second_factors.schemas import MfaLogin, MfaRequired, PasskeyOptions, UsedCredential
from health_services.sessions import service as sessions
from health_services.sessions.schemas import SignedIn
from health_services.sessions.service import Device, Lifetimes

LIFETIME = timedelta(minutes=10)
CHALLENGE_LIFETIME = timedelta(seconds=TIMEOUT_SECONDS)
MOST_ATTEMPTS = 5
_WRONG = "The second factor is wrong, was used before, or came too late. Sign in again if it does not work."
_NO_PASSKEY = "This passkey is not known here, or came too late."
# How somebody has proved who he is (RFC 8176).
_BY_CODE = ("otp", "mfa")
_BY_PASSKEY = ("pop", "user", "mfa")

Reading = Callable[[], AsyncSession]
log = structlog.get_logger("health_services.second_factors")


@dataclass(frozen=True)
class Entrance:
    """What signing in needs besides the request's transaction; `reading` commits each statement by itself."""

    reading: Reading
    limiter: Limiter
    lifetimes: Lifetimes
    relying_party: RelyingParty


async def begin_login(session: AsyncSession, caller: Caller, device: Device, now: datetime) -> MfaRequired:
    """What somebody gets whose password was right and who has a second factor: no session yet."""
    held = await SecondFactorRepository(session).held(caller.id)
    methods = {"totp": held.has_totp, "recovery_code": held.recovery_codes > 0, "passkey": held.passkeys > 0}
    data = {"device": asdict(device), "methods": ["pwd"]}
    token = await one_time_tokens.issue(session, Purpose.MFA, caller.id, LIFETIME, now, data)
    return MfaRequired.model_validate(
        {"mfa_token": token, "methods": [method for method, is_held in methods.items() if is_held]}
    )


async def login(session: AsyncSession, entrance: Entrance, trail: Trail, request: MfaLogin, now: datetime) -> SignedIn:
    """Complete what `begin_login` began, five attempts at most.

    Raises the same AuthenticationException for every reason, RateLimitedException after too many for one account.
    """
    token = request.mfa_token.get_secret_value()
    # each of these counts at once, whatever becomes of the request
    async with entrance.reading() as counting:
        begun = await one_time_tokens.attempt(counting, Purpose.MFA, token)
        if begun is None or begun.attempts > MOST_ATTEMPTS:
            raise AuthenticationException(_WRONG)
        trail.regards(begun.user_id)
        await entrance.limiter.hit("mfa", str(begun.user_id))
        if request.passkey and not await _is_challenge(counting, request.passkey):
            raise AuthenticationException(_WRONG)
    caller = await _act_as(session, begun.user_id, trail)
    is_first = await one_time_tokens.redeem(session, Purpose.MFA, token) is not None
    if not is_first or not await _is_proven(session, entrance.relying_party, request, caller.id, now):
        raise AuthenticationException(_WRONG)
    data: dict[str, Any] = begun.data
    methods = [*data["methods"], *(_BY_PASSKEY if request.passkey else _BY_CODE)]
    return await sessions.sign_in(session, entrance.lifetimes, caller, Device(**data["device"]), methods, now)


async def _is_proven(
    session: AsyncSession, party: RelyingParty, request: MfaLogin, user_id: int, now: datetime
) -> bool:
    if request.passkey:
        return await _use_passkey(session, party, request.passkey.as_sent(), user_id, now)
    assert request.code is not None, "the request has one of both"
    return await verify_code(session, user_id, request.code.get_secret_value(), now)


async def verify_code(session: AsyncSession, user_id: int, code: str, now: datetime) -> bool:
    """Use up a code of the person's authenticator app, or a recovery code; whether it was a right one.

    The transaction acts for him. Of two that use the same code at once, one is right. Whoever calls this limits how
    often it is tried.
    """
    factors = SecondFactorRepository(session)
    if not totp.is_code(recovery.plain(code)):
        if not await factors.use_recovery_code(user_id, recovery.hash_of(user_id, code), now):
            return False
        held = await factors.held(user_id)
        await of_account(session, "recovery_code_used", user_id, now, left=held.recovery_codes)
        return True
    kept = await factors.totp(user_id)
    step = totp.step_of(kept.secret, recovery.plain(code), now) if kept and kept.secret else None
    return step is not None and await factors.use_step(user_id, step)


async def begin_passkey_login(session: AsyncSession, party: RelyingParty, now: datetime) -> PasskeyOptions:
    """Options for any passkey, whoever asks; raises ConflictException where passkeys cannot work."""
    challenge = await one_time_tokens.issue(session, Purpose.PASSKEY_LOGIN, None, CHALLENGE_LIFETIME, now)
    return PasskeyOptions(party.request_options(challenge))


async def login_by_passkey(
    session: AsyncSession, entrance: Entrance, trail: Trail, credential: UsedCredential, device: Device, now: datetime
) -> SignedIn:
    """Sign in with nothing but a passkey, which is two factors: the device, and what its owner shows to it.

    Raises the same AuthenticationException for every reason, RateLimitedException after too many from one address.
    """
    address = device.address or ""
    await entrance.limiter.test("login_address", address)
    caller = await _owner_of_used(session, entrance, trail, credential, now)
    if caller is None:
        await entrance.limiter.hit("login_address", address)
        raise AuthenticationException(_NO_PASSKEY)
    return await sessions.sign_in(session, entrance.lifetimes, caller, device, [*_BY_PASSKEY], now)


async def _owner_of_used(
    session: AsyncSession, entrance: Entrance, trail: Trail, credential: UsedCredential, now: datetime
) -> Caller | None:
    """Whose passkey answered a challenge of ours; the challenge is used up whatever it proves."""
    async with entrance.reading() as spending:
        if not await _is_challenge(spending, credential):
            return None
    try:
        user_id = await SecondFactorRepository(session).passkey_owner(credential_id_of(credential.as_sent()))
        if user_id is None:
            return None
        trail.regards(user_id)
        caller = await act_as(session, user_id, None, trail)
    except (UnprovenError, AuthenticationException):
        return None
    is_used = await _use_passkey(session, entrance.relying_party, credential.as_sent(), user_id, now)
    return caller if is_used else None


async def _is_challenge(spending: AsyncSession, credential: UsedCredential) -> bool:
    """Use up the challenge that was answered; whether it was one of ours."""
    try:
        challenge = challenge_of(credential.as_sent())
    except UnprovenError:
        return False
    return await one_time_tokens.redeem(spending, Purpose.PASSKEY_LOGIN, challenge) is not None


async def _act_as(session: AsyncSession, user_id: int, trail: Trail) -> Caller:
    try:
        return await act_as(session, user_id, None, trail)
    except AuthenticationException:
        raise AuthenticationException(_WRONG) from None


async def _use_passkey(
    session: AsyncSession, party: RelyingParty, credential: Credential, user_id: int, now: datetime
) -> bool:
    factors = SecondFactorRepository(session)
    try:
        passkey: AnyRow | None = await factors.passkey(user_id, credential_id_of(credential))
        if passkey is None:
            return False
        used = party.verify_use(credential, passkey, user_id)
    except UnprovenError:
        return False
    count, is_backed_up = used.new_sign_count, used.credential_backed_up
    return await factors.use_passkey(passkey.id, count, now, is_backed_up=is_backed_up)
