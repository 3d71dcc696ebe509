"""Beginning sessions, carrying them on, and ending them. docs/security.md tells the rules and why they are so."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, act_as, key_hash
from health_services.access.tokens import Tokens
from health_services.access.trail import Trail
from health_services.announcements.service import of_account
from health_services.database.base import AnyRow
from health_services.errors import AuthenticationException, AuthorizationException, ResourceNotFoundException
from health_services.pagination import Page
from health_services.sessions.repository import Rotation, SessionRepository
from health_services.sessions.schemas import SessionRead, SignedIn
from health_services.sessions.succession import csrf_token, new_token, sealed_successor, successor_of
from health_services.users.repository import UserRepository
from health_services.users.schemas import UserRead

# Whoever lost the answer to his refresh, or has two tabs that refresh at once, gets it again for so long.
GRACE = timedelta(seconds=10)
REFUSED = "The refresh token is not valid, or has expired. Sign in again."


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


@dataclass(frozen=True)
class Shown:
    """A refresh token as it was sent; with one from a cookie came a `csrf_token`, or nothing in its place."""

    token: str
    csrf_token: str | None = None

    @property
    def is_cookie(self) -> bool:
        """Whether a browser sent it along by itself."""
        return self.csrf_token is not None


async def sign_in(
    session: AsyncSession, lifetimes: Lifetimes, caller: Caller, device: Device, methods: list[str], now: datetime
) -> SignedIn:
    """A new session of the caller, who has just proved by these methods (RFC 8176) who he is; his last login is now."""
    seen = await UserRepository(session).record_login(caller.id, now)
    begun = await begin(session, lifetimes, caller, device, methods, now)
    user = begun.user.model_copy(update={"last_login": seen.last_login, "updated_at": seen.updated_at})
    return begun.model_copy(update={"user": user})


async def begin(
    session: AsyncSession, lifetimes: Lifetimes, caller: Caller, device: Device, methods: list[str], now: datetime
) -> SignedIn:
    """The same without noting a login: for whoever has just made his account."""
    token, expires_at = new_token(), now + lifetimes.longest
    session_id = await SessionRepository(session).begin(
        user_id=caller.id,
        client=device.client,
        address=device.address,
        is_cookie=device.is_cookie,
        methods=methods,
        now=now,
        expires_at=expires_at,
        token_hash=key_hash(token),
        token_expires_at=min(now + lifetimes.refresh, expires_at),
    )
    caller.trail.via = f"session:{session_id}"
    return _answer(lifetimes, caller, session_id, token, now, is_cookie=device.is_cookie)


def _answer(
    lifetimes: Lifetimes, caller: Caller, session_id: int, token: str, now: datetime, *, is_cookie: bool
) -> SignedIn:
    tokens = lifetimes.tokens
    return SignedIn(
        access_token=tokens.issue(caller.id, caller.role, session_id, now),
        expires_in=int(tokens.lifetime.total_seconds()),
        refresh_token=token,
        csrf_token=csrf_token(tokens.secret, session_id) if is_cookie else None,
        user=UserRead.model_validate(caller.account),
    )


async def refresh(
    session: AsyncSession, lifetimes: Lifetimes, trail: Trail, shown: Shown, device: Device, now: datetime
) -> SignedIn | None:
    """Carry a session on: a new access token, and the next refresh token in place of this one.

    A token that was used within the last 10 seconds by the same client gets the one that has taken its place. None for
    one that was used otherwise: somebody else has it too, so the session is ended and the owner told, which has to be
    committed although the answer is a refusal. Raises AuthenticationException; AuthorizationException where a cookie
    came without the CSRF token of its session.
    """
    sessions = SessionRepository(session)
    caller, session_id = await _holder(session, lifetimes, trail, shown)
    # Whoever refreshes at the same moment waits here, and then sees what the first one did.
    kept = await sessions.lock(session_id)
    if kept is None or kept.is_cookie != shown.is_cookie:
        raise AuthenticationException(REFUSED)
    token, found = shown.token, await sessions.token(key_hash(shown.token))
    if found.used_at is None and found.expires_at <= now:
        raise AuthenticationException(REFUSED)
    if found.used_at is None:
        token = await _rotate(sessions, lifetimes, caller, session_id, token, kept.expires_at, device, now)
    elif now - found.used_at <= GRACE and device.client == kept.client:
        while found.used_at is not None:
            token = successor_of(token, found.successor)
            found = await sessions.token(key_hash(token))
    else:
        await sessions.end(caller.id, session_id, "refresh token used twice", now)
        await of_account(session, "refresh_token_reused", caller.id, now)
        return None
    return _answer(lifetimes, caller, session_id, token, now, is_cookie=kept.is_cookie)


async def _holder(session: AsyncSession, lifetimes: Lifetimes, trail: Trail, shown: Shown) -> tuple[Caller, int]:
    """Whose session the token belongs to, for whom the transaction acts from now on; raises as `refresh`."""
    owner = await SessionRepository(session).owner(key_hash(shown.token))
    if owner is None:
        raise AuthenticationException(REFUSED)
    if shown.csrf_token is not None:
        expected = (csrf_token(secret, owner.session_id) for secret in lifetimes.tokens.secrets)
        if not any(hmac.compare_digest(token.encode(), shown.csrf_token.encode()) for token in expected):
            raise AuthorizationException("Send the CSRF token of this session in the header X-CSRF-Token.")
    try:
        return await act_as(session, owner.user_id, owner.session_id, trail), owner.session_id
    except AuthenticationException:
        raise AuthenticationException(REFUSED) from None


async def _rotate(
    sessions: SessionRepository,
    lifetimes: Lifetimes,
    caller: Caller,
    session_id: int,
    token: str,
    ends_at: datetime,
    device: Device,
    now: datetime,
) -> str:
    successor = new_token()
    rotation = Rotation(
        hash=key_hash(token),
        sealed=sealed_successor(token, successor),
        next_hash=key_hash(successor),
        next_expires_at=min(now + lifetimes.refresh, ends_at),
        session_id=session_id,
        user_id=caller.id,
    )
    await sessions.rotate(rotation, device.client, device.address, now)
    return successor


async def sign_out(session: AsyncSession, lifetimes: Lifetimes, trail: Trail, shown: Shown, now: datetime) -> None:
    """End the session of a refresh token, also of one that was used or has expired; any other ends nothing.

    Raises AuthorizationException where a cookie came without the CSRF token of its session.
    """
    try:
        caller, session_id = await _holder(session, lifetimes, trail, shown)
    except AuthenticationException:
        return
    await SessionRepository(session).end(caller.id, session_id, "signed out", now)


async def sign_out_everywhere(session: AsyncSession, caller: Caller, now: datetime) -> None:
    """End all sessions of the caller, this one too."""
    await SessionRepository(session).end_all(caller.id, "signed out everywhere", now)


async def list_own(session: AsyncSession, caller: Caller, now: datetime, page: Page) -> Sequence[SessionRead]:
    """Where the caller is signed in; one more than the page holds."""
    rows: Sequence[AnyRow] = await SessionRepository(session).live(caller.id, now, page)
    return [SessionRead(**row._asdict(), is_current=row.id == caller.session_id) for row in rows]


async def end_own(session: AsyncSession, caller: Caller, session_id: int, now: datetime) -> None:
    """End one of the caller's sessions; raises ResourceNotFoundException for one that is not his or has ended."""
    if not await SessionRepository(session).end(caller.id, session_id, "ended by its owner", now):
        raise ResourceNotFoundException("There is no such session.")
