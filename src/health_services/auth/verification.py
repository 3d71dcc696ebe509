"""Verifying an e-mail address: by a link that is mailed to it."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.access.trail import Trail
from health_services.announcements.service import mail_token
from health_services.auth.schemas import EmailVerification
from health_services.limits.limiter import Limiter
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.users.repository import UserRepository


async def send(session: AsyncSession, user_id: int, now: datetime) -> None:
    """Mail the person, for whom the transaction acts, a link that is good for 24 hours; two round trips."""
    purpose = Purpose.EMAIL_VERIFICATION
    token = await one_time_tokens.issue(session, purpose, user_id, one_time_tokens.MAILED[purpose], now)
    await mail_token(session, purpose, user_id, token, now)


async def send_again(session: AsyncSession, limiter: Limiter, caller: Caller, address: str, now: datetime) -> None:
    """The same on request; the links of before end. Nothing for an address that is verified already.

    Raises RateLimitedException.
    """
    if caller.account.is_verified or caller.account.email is None:
        return
    await limiter.hit("mail_address", address)
    await limiter.hit("mail_target", caller.account.email)
    await one_time_tokens.withdraw(session, Purpose.EMAIL_VERIFICATION, caller.id)
    await send(session, caller.id, now)


async def verify(session: AsyncSession, trail: Trail, request: EmailVerification) -> None:
    """Take the address as the person's; raises ValidationException for any token but a live one of ours.

    Whoever changes his address ends the links that went to the one of before.
    """
    caller = await one_time_tokens.hold(session, trail, Purpose.EMAIL_VERIFICATION, request.token)
    await UserRepository(session).verify_email(caller.id)
