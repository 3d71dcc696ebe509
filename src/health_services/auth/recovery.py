"""Changing a password, and getting back in without it: by a link that is mailed to the account's address."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.releasing import released
from health_services.access.service import Caller
from health_services.access.trail import Trail
from health_services.announcements.service import mail_token, of_account
from health_services.auth.gate import Gate
from health_services.auth.passwords import Passwords, why_refused
from health_services.auth.schemas import PasswordChange, PasswordForgotten, PasswordReset
from health_services.database.context import as_service
from health_services.errors import (
    AuthorizationException,
    RateLimitedException,
    ValidationException,
)
from health_services.limits.limiter import Limiter
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.users.repository import UserRepository

_WRONG = "The current password is wrong."
_NOBODY = 0


async def change(
    session: AsyncSession, gate: Gate, caller: Caller, address: str, request: PasswordChange, now: datetime
) -> None:
    """Give the caller's account another password; every session ends, this one too, and he is told.

    Raises ValidationException for a bad password, AuthorizationException where the current one is wrong,
    RateLimitedException as signing in does.
    """
    users = UserRepository(session)
    new_password = request.new_password.get_secret_value()
    _insist_on_good(new_password, caller)
    stored = await users.password_hash(caller.id)
    async with released(session, caller):
        checked = await gate.check(
            caller.account.email or "", address, request.current_password.get_secret_value(), stored
        )
        if not checked.is_right:
            raise AuthorizationException(_WRONG)
        new_hash = await gate.passwords.hash(new_password)
    if not await users.change_password(caller.id, new_hash, stored):
        raise AuthorizationException(_WRONG)  # somebody else has changed it in this moment
    await of_account(session, "password_changed", caller.id, now)


async def forget(
    session: AsyncSession, limiter: Limiter, trail: Trail, request: PasswordForgotten, address: str, now: datetime
) -> None:
    """Mail a link that is good for 30 minutes, if there is such an account with a password; the links of before end.

    The same statements, hashing and sealing for everybody; too many for one address or from one do nothing more.
    """
    is_allowed = await _may_mail(limiter, request.email, address)
    found = await UserRepository(session).credentials(request.email)
    if found is not None:
        trail.regards(found.id)
    # who has no password yet is let in by an invitation, which is not for him to ask for
    is_wanted = is_allowed and found is not None and found.is_active and found.password_hash is not None
    user_id = found.id if found is not None and is_wanted else _NOBODY
    purpose = Purpose.PASSWORD_RESET
    async with as_service(session):  # nobody is known yet
        await one_time_tokens.withdraw(session, purpose, user_id)
        lifetime = one_time_tokens.MAILED[purpose]
        token = await one_time_tokens.issue(session, purpose, user_id, lifetime, now, is_wanted=is_wanted)
        await mail_token(session, purpose, user_id, token, now, is_wanted=is_wanted)


async def _may_mail(limiter: Limiter, email: str, address: str) -> bool:
    try:
        await limiter.hit("mail_address", address)
        await limiter.hit("mail_target", email)
    except RateLimitedException:
        return False
    return True


async def reset(
    session: AsyncSession, passwords: Passwords, trail: Trail, request: PasswordReset, now: datetime
) -> None:
    """Give the account of the link another password; every session ends, and the owner is told. Signs nobody in.

    Raises ValidationException for a token that is used, expired or not ours, and, which leaves the token as it is, for
    a bad password. The address is verified with it, since the mail has reached him.
    """
    new_password = request.new_password.get_secret_value()
    caller = await one_time_tokens.hold(session, trail, Purpose.PASSWORD_RESET, request.token)
    _insist_on_good(new_password, caller)
    async with released(session, caller):  # the token is not used up yet
        new_hash = await passwords.hash(new_password)
    await one_time_tokens.hold(session, trail, Purpose.PASSWORD_RESET, request.token)
    users = UserRepository(session)
    await users.change_password(caller.id, new_hash, await users.password_hash(caller.id))
    await users.verify_email(caller.id)
    await of_account(session, "password_changed", caller.id, now)


def _insist_on_good(new_password: str, caller: Caller) -> None:
    reason = why_refused(new_password, email=caller.account.email, name=caller.account.name)
    if reason:
        raise ValidationException.of("new_password", reason)
