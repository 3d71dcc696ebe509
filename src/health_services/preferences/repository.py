"""SQL of the preferences."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.preferences.models import NotificationPreferences


class PreferencesRepository:
    """What people chose."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: int) -> NotificationPreferences | None:
        """A person's row; None while he has chosen nothing."""
        query = select(NotificationPreferences).where(NotificationPreferences.user_id == user_id)
        return (await self._session.scalars(query.execution_options(populate_existing=True))).one_or_none()

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
