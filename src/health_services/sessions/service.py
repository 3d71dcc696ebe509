"""Beginning sessions, carrying them on, and ending them."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, key_hash
from health_services.access.tokens import Tokens
from health_services.sessions.repository import SessionRepository
from health_services.sessions.schemas import SignedIn
from health_services.users.schemas import UserRead

_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Lifetimes:
    """How long a session is good for without being refreshed, and at most; `tokens` issues its access tokens."""

    tokens: Tokens
    refresh: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Device:
    """Where somebody signs in: what the client says of itself, its address, and where its refresh token goes."""

    client: str | None = None
    address: str | None = None
    is_cookie: bool = False


async def begin(
    session: AsyncSession, lifetimes: Lifetimes, caller: Caller, device: Device, methods: list[str], now: datetime
) -> SignedIn:
    """A new session of the caller, who has just proved by these methods (RFC 8176) who he is."""
    sessions = SessionRepository(session)
    session_id = await sessions.add(
        user_id=caller.id,
        client=device.client,
        address=device.address,
        is_cookie=device.is_cookie,
        methods=methods,
        now=now,
        expires_at=now + lifetimes.longest,
    )
    token = f"hsr_{secrets.token_urlsafe(_TOKEN_BYTES)}"
    await sessions.add_token(key_hash(token), session_id, caller.id, now + lifetimes.refresh)
    caller.trail.via = f"session:{session_id}"
    return SignedIn(
        access_token=lifetimes.tokens.issue(caller.id, caller.role, session_id, now),
        expires_in=int(lifetimes.tokens.lifetime.total_seconds()),
        refresh_token=token,
        user=UserRead.model_validate(caller.account),
    )
