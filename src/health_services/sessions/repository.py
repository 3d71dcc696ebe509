"""SQL of sessions and refresh tokens."""

from datetime import datetime

from sqlalchemy import insert, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.sessions.models import RefreshToken, SignIn


class SessionRepository:
    """Sessions of the account for which the transaction acts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self,
        *,
        user_id: int,
        client: str | None,
        address: str | None,
        is_cookie: bool,
        methods: list[str],
        now: datetime,
        expires_at: datetime,
    ) -> int:
        """Begin a session; answers its id."""
        values = {
            "user_id": user_id,
            "client": client,
            "address": address,
            "is_cookie": is_cookie,
            "methods": methods,
            "authenticated_at": now,
            "last_used_at": now,
            "expires_at": expires_at,
        }
        return (await self._session.execute(insert(SignIn).values(values).returning(SignIn.id))).scalar_one()

    async def end_all(self, user_id: int, reason: str, now: datetime) -> None:
        """End every session of an account that has not ended yet; row-level security says whose they may be."""
        query = update(SignIn).where(SignIn.user_id == user_id, SignIn.ended_at.is_(None))
        await self._session.execute(query.values(ended_at=now, ended_reason=reason))

    async def add_token(self, token_hash: bytes, session_id: int, user_id: int, expires_at: datetime) -> None:
        """One more refresh token of the session."""
        values = {"token_hash": token_hash, "session_id": session_id, "user_id": user_id, "expires_at": expires_at}
        await self._session.execute(insert(RefreshToken).values(values))
