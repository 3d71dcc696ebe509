"""SQL of the emergency_accesses table."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.sealing import sealed
from health_services.emergency_accesses.models import EmergencyAccess

_TABLE, _SEALED = EmergencyAccess.__tablename__, ("reason",)
# A sealed text is bound to its row's id, which has to be known before.
_NEXT_ID = text("SELECT nextval(pg_get_serial_sequence('emergency_accesses', 'id'))")
_ADD = text(
    """INSERT INTO emergency_accesses (id, patient_id, doctor_id, reason, expires_at) OVERRIDING SYSTEM VALUE
       VALUES (:id, :patient_id, :doctor_id, :reason, :expires_at)"""
)
# The database answers for patients whom the doctor does not see.
_ACCOUNT = text("SELECT user_id FROM patient_account(:patient_id)")


class EmergencyAccessRepository:
    """Emergency accesses of the doctor for whom the transaction acts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def account_of(self, patient_id: int) -> int | None:
        """The account of a patient, seen or not; None if there is no such patient."""
        found: int | None = await self._session.scalar(_ACCOUNT, {"patient_id": patient_id})
        return found

    async def add(self, *, patient_id: int, doctor_id: int, reason: str, expires_at: datetime) -> None:
        """Open the record until then; the reason is sealed."""
        row_id = int(await self._session.scalar(_NEXT_ID))
        values = sealed(self._session, _TABLE, _SEALED, row_id, {"reason": reason})
        await self._session.execute(
            _ADD, {"id": row_id, "patient_id": patient_id, "doctor_id": doctor_id, "expires_at": expires_at, **values}
        )
