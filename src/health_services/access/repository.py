"""What the database knows of a caller."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow

_CALLER = text("SELECT * FROM caller_of(:user_id)")


class CallerRepository:
    """Reads accounts with all that decides what they may do."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def account(self, user_id: int) -> AnyRow | None:
        """The user with `patient_id`, `doctor_id` and `clinic_ids`; one round trip."""
        return (await self._session.execute(_CALLER, {"user_id": user_id})).one_or_none()
