"""SQL of one-time tokens."""

from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.one_time_tokens.models import OneTimeToken

_ADD = text(
    """INSERT INTO one_time_tokens (token_hash, purpose, user_id, data, expires_at)
       SELECT :token_hash, :purpose, CAST(:user_id AS bigint), CAST(:data AS jsonb), CAST(:expires_at AS timestamptz)
       WHERE :is_wanted"""
)
_REDEEM = text("SELECT * FROM redeem(:hash, :purpose, :keep)")


class OneTimeTokenRepository:
    """Tokens by their hashes."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(
        self,
        token_hash: bytes,
        purpose: str,
        user_id: int | None,
        data: dict[str, Any],
        expires_at: datetime,
        *,
        is_wanted: bool = True,
    ) -> None:
        """Insert where it is wanted, by the same statement as where it is not."""
        values = {
            "token_hash": token_hash,
            "purpose": purpose,
            "user_id": user_id,
            "data": orjson.dumps(data).decode(),
            "expires_at": expires_at,
            "is_wanted": is_wanted,
        }
        await self._session.execute(_ADD, values)

    async def redeem(self, token_hash: bytes, purpose: str, *, keep: bool) -> AnyRow | None:
        """`user_id`, `data` and `attempts` (this one included) of a live token, whoever asks; used up unless kept."""
        values = {"hash": token_hash, "purpose": purpose, "keep": keep}
        return (await self._session.execute(_REDEEM, values)).one_or_none()

    async def withdraw(self, user_id: int, purpose: str) -> None:
        """Let none of the person's tokens for this purpose be used any more."""
        query = update(OneTimeToken).where(
            OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose, OneTimeToken.used_at.is_(None)
        )
        await self._session.execute(query.values(used_at=func.now()))
