"""SQL of sessions and refresh tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.sessions.models import RefreshToken, SignIn

# Of one account at the same time: more than anybody has devices, and no more rows than that for who signs in and in.
_MOST = 50
_BEGIN = text(
    """WITH begun AS (
           INSERT INTO sessions (user_id, client, address, is_cookie, methods, authenticated_at, last_used_at,
                                 expires_at)
           VALUES (:user_id, :client, :address, :is_cookie, CAST(:methods AS varchar[]), :now, :now, :expires_at)
           RETURNING id
       ), given AS (
           INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
           SELECT :token_hash, id, :user_id, :token_expires_at FROM begun
       ), forgotten AS (
           UPDATE sessions SET ended_at = :now, ended_reason = 'too many sessions' WHERE id IN (
               SELECT id FROM sessions WHERE user_id = :user_id AND ended_at IS NULL
               ORDER BY last_used_at DESC, id DESC OFFSET :others
           )
       )
       SELECT id FROM begun"""
)
_OWNER = text("SELECT * FROM refresh_token_owner(:hash)")
_ROTATE = text(
    """WITH used AS (
           UPDATE refresh_tokens SET used_at = :now, successor = :sealed WHERE token_hash = :hash
       ), given AS (
           INSERT INTO refresh_tokens (token_hash, session_id, user_id, expires_at)
           VALUES (:next_hash, :session_id, :user_id, :next_expires_at)
       )
       UPDATE sessions SET last_used_at = :now, client = :client, address = :address WHERE id = :session_id"""
)


@dataclass(frozen=True)
class Rotation:
    """A token that is used up, and the one that takes its place."""

    hash: bytes
    sealed: bytes
    next_hash: bytes
    next_expires_at: datetime
    session_id: int
    user_id: int


class SessionRepository:
    """Sessions of the account for which the transaction acts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def begin(
        self,
        *,
        user_id: int,
        client: str | None,
        address: str | None,
        is_cookie: bool,
        methods: list[str],
        now: datetime,
        expires_at: datetime,
        token_hash: bytes,
        token_expires_at: datetime,
    ) -> int:
        """A session with its first refresh token; answers its id. Beyond 50, the longest unused end. One round trip."""
        values = {
            "user_id": user_id,
            "client": client,
            "address": address,
            "is_cookie": is_cookie,
            "methods": methods,
            "now": now,
            "expires_at": expires_at,
            "token_hash": token_hash,
            "token_expires_at": token_expires_at,
            "others": _MOST - 1,
        }
        return int((await self._session.execute(_BEGIN, values)).scalar_one())

    async def owner(self, token_hash: bytes) -> AnyRow | None:
        """`user_id` and `session_id` of a refresh token, whoever asks and whatever became of it."""
        return (await self._session.execute(_OWNER, {"hash": token_hash})).one_or_none()

    async def lock(self, session_id: int) -> AnyRow | None:
        """`client`, `is_cookie` and `expires_at` of a session that lives, and does until the transaction ends."""
        query = select(SignIn.client, SignIn.is_cookie, SignIn.expires_at).where(
            SignIn.id == session_id, SignIn.ended_at.is_(None)
        )
        return (await self._session.execute(query.with_for_update(key_share=True))).one_or_none()

    async def token(self, token_hash: bytes) -> AnyRow:
        """`used_at`, `successor` and `expires_at` of a refresh token of this account."""
        query = select(RefreshToken.used_at, RefreshToken.successor, RefreshToken.expires_at)
        return (await self._session.execute(query.where(RefreshToken.token_hash == token_hash))).one()

    async def rotate(self, rotation: Rotation, client: str | None, address: str | None, now: datetime) -> None:
        """Let the next token take its place, and note who used it from where; one round trip."""
        await self._session.execute(_ROTATE, vars(rotation) | {"client": client, "address": address, "now": now})

    async def live(self, user_id: int, now: datetime, page: Page) -> Sequence[AnyRow]:
        """The sessions that have not ended, the one used last first; one more than the page holds."""
        shown = (
            SignIn.id, SignIn.client, SignIn.address, SignIn.is_cookie, SignIn.methods, SignIn.created_at,
            SignIn.last_used_at, SignIn.expires_at,
        )  # fmt: skip
        query = select(*shown).where(SignIn.user_id == user_id, SignIn.ended_at.is_(None), SignIn.expires_at > now)
        return (await self._session.execute(page.of(query, SignIn.last_used_at, SignIn.id, newest_first=True))).all()

    async def prove(self, session_id: int, now: datetime) -> None:
        """The person has shown once more who he is."""
        await self._session.execute(update(SignIn).where(SignIn.id == session_id).values(authenticated_at=now))

    async def end(self, user_id: int, session_id: int, reason: str, now: datetime) -> bool:
        """End one session of this person, access tokens included; False if there is none such that lives."""
        query = update(SignIn).where(SignIn.id == session_id, SignIn.user_id == user_id, SignIn.ended_at.is_(None))
        ended = await self._session.execute(query.values(ended_at=now, ended_reason=reason).returning(SignIn.id))
        return ended.one_or_none() is not None

    async def end_all(self, user_id: int, reason: str, now: datetime, *, but: int | None = None) -> None:
        """End every session of this person, or all but one."""
        query = update(SignIn).where(SignIn.user_id == user_id, SignIn.ended_at.is_(None))
        if but is not None:
            query = query.where(SignIn.id != but)
        await self._session.execute(query.values(ended_at=now, ended_reason=reason))
