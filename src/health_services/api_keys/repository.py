"""SQL of API keys; administrators could see everybody's, so each statement names whose."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.api_keys.models import ApiKey
from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.users.models import User

_COLUMNS = (
    ApiKey.id, ApiKey.name, ApiKey.prefix, ApiKey.scopes, ApiKey.expires_at, ApiKey.last_used_at, ApiKey.revoked_at,
    ApiKey.created_at,
)  # fmt: skip


class ApiKeyRepository:
    """One person's keys, never their secrets."""

    def __init__(self, session: AsyncSession, user_id: int) -> None:
        self._session = session
        self._user_id = user_id

    async def add(
        self, *, name: str, prefix: str, secret_hash: bytes, scopes: list[str], expires_at: datetime | None
    ) -> AnyRow:
        """Insert."""
        values = {
            "user_id": self._user_id,
            "name": name,
            "prefix": prefix,
            "secret_hash": secret_hash,
            "scopes": scopes,
            "expires_at": expires_at,
        }
        return (await self._session.execute(insert(ApiKey).values(values).returning(*_COLUMNS))).one()

    async def count_for_creating(self, now: datetime) -> int:
        """How many keys live; whoever makes one at the same time for the same person waits."""
        await self._session.execute(select(User.id).where(User.id == self._user_id).with_for_update(key_share=True))
        is_live = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now)
        query = select(func.count()).where(ApiKey.user_id == self._user_id, ApiKey.revoked_at.is_(None), is_live)
        return int(await self._session.scalar(query) or 0)

    async def all(self, page: Page) -> Sequence[AnyRow]:
        """Keys by id, those that have ended too, one more than the page holds."""
        query = select(*_COLUMNS).where(ApiKey.user_id == self._user_id)
        return (await self._session.execute(page.of(query, ApiKey.id))).all()

    async def get(self, key_id: int) -> AnyRow | None:
        """One key."""
        query = select(*_COLUMNS).where(ApiKey.id == key_id, ApiKey.user_id == self._user_id)
        return (await self._session.execute(query)).one_or_none()

    async def revoke(self, key_id: int, now: datetime) -> bool:
        """Whether there is such a key, which works no more from now on, or did not before."""
        query = update(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == self._user_id)
        revoked = query.values(revoked_at=func.coalesce(ApiKey.revoked_at, now)).returning(ApiKey.id)
        return await self._session.scalar(revoked) is not None
