"""SQL of the preferences."""

from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.preferences.models import NotificationPreferences

_LANGUAGES = text(
    """SELECT p.locale, r.preferred_language
       FROM users u
       LEFT JOIN notification_preferences p ON p.user_id = u.id
       LEFT JOIN patients r ON r.user_id = u.id
       WHERE u.id = :user_id"""
)


class PreferencesRepository:
    """What people chose."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: int) -> NotificationPreferences | None:
        """A person's row; None while he has chosen nothing."""
        query = select(NotificationPreferences).where(NotificationPreferences.user_id == user_id)
        return (await self._session.scalars(query.execution_options(populate_existing=True))).one_or_none()

    async def languages(self, user_id: int) -> AnyRow:
        """Which language a person chose (`locale`), and which his record names (`preferred_language`)."""
        return (await self._session.execute(_LANGUAGES, {"user_id": user_id})).one()

    async def get_for_update(self, user_id: int) -> NotificationPreferences:
        """A person's row, made if there was none, locked until the transaction ends."""
        made = insert(NotificationPreferences).values(user_id=user_id).on_conflict_do_nothing()
        await self._session.execute(made)
        query = select(NotificationPreferences).where(NotificationPreferences.user_id == user_id).with_for_update()
        return (await self._session.scalars(query.execution_options(populate_existing=True))).one()

    async def save(self, preferences: NotificationPreferences, changes: dict[str, Any]) -> None:
        """Write the changed columns."""
        for column, value in changes.items():
            setattr(preferences, column, value)
        preferences.updated_at = func.now()
        await self._session.flush()
