"""Issuing tokens that work once, and taking them back in."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, act_as, key_hash
from health_services.access.trail import Trail
from health_services.database.base import AnyRow
from health_services.errors import AuthenticationException, ValidationException
from health_services.one_time_tokens.models import Purpose
from health_services.one_time_tokens.repository import OneTimeTokenRepository

_BYTES = 32
_BAD = "is not valid, was used, or has expired"
# How long the token of a mailed link lives.
MAILED = {
    Purpose.EMAIL_VERIFICATION: timedelta(hours=24),
    Purpose.PASSWORD_RESET: timedelta(minutes=30),
    Purpose.INVITATION: timedelta(days=7),
}


async def issue(
    session: AsyncSession,
    purpose: Purpose,
    user_id: int | None,
    lifetime: timedelta,
    now: datetime,
    data: Mapping[str, Any] | None = None,
    *,
    is_wanted: bool = True,
) -> str:
    """A new token of 256 random bits for this person, for whom the transaction acts; only its hash is kept.

    Where it is not wanted the same work is done, and nothing is kept.
    """
    token = secrets.token_urlsafe(_BYTES)
    await OneTimeTokenRepository(session).add(
        key_hash(token), purpose, user_id, dict(data or {}), now + lifetime, is_wanted=is_wanted
    )
    return token


async def redeem(session: AsyncSession, purpose: Purpose, token: str) -> AnyRow | None:
    """Use a token up: whose it is (`user_id`) and its `data`; None for one that is used, expired, or not ours."""
    return await OneTimeTokenRepository(session).redeem(key_hash(token), purpose, keep=False)


async def hold(session: AsyncSession, trail: Trail, purpose: Purpose, token: SecretStr) -> Caller:
    """Whose token of a mailed link it is, which is used up; the transaction acts for him from now on.

    Raises ValidationException for one that is used, expired, not ours, or of an account that is not active.
    """
    found = await redeem(session, purpose, token.get_secret_value())
    if found is None:
        raise ValidationException.of("token", _BAD)
    try:
        return await act_as(session, found.user_id, None, trail)
    except AuthenticationException:  # the account is not active
        raise ValidationException.of("token", _BAD) from None


async def attempt(session: AsyncSession, purpose: Purpose, token: str) -> AnyRow | None:
    """The same without using it up; `attempts` is how often that was done, this time included.

    It counts only if the transaction is committed: whoever limits attempts does it in one of its own.
    """
    return await OneTimeTokenRepository(session).redeem(key_hash(token), purpose, keep=True)


async def withdraw(session: AsyncSession, purpose: Purpose, user_id: int) -> None:
    """Let none of the person's tokens for this purpose be used any more."""
    await OneTimeTokenRepository(session).withdraw(user_id, purpose)
