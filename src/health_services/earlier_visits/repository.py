"""SQL of the visits that nobody was told of."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

# A booking of this version writes its messages in its own transaction, so one of the time before shows by having none.
# Where there was nothing to upgrade, or the data came otherwise (a demonstration, say), nobody is reminded unasked.
_PATIENTS = text(
    """SELECT p.user_id
       FROM installation i
       JOIN appointments a ON a.created_at < i.older_bookings_until AND a.status IN ('pending', 'confirmed')
       JOIN appointment_slots s ON s.id = a.slot_id AND s.slot_datetime > now()
       JOIN patients p ON p.id = a.patient_id
       WHERE i.older_bookings_until IS NOT NULL
         AND NOT EXISTS (SELECT FROM notifications n WHERE n.appointment_id = a.id)
       GROUP BY p.user_id
       ORDER BY min(s.slot_datetime), p.user_id"""
)


class EarlierVisitRepository:
    """Appointments without a row in the ledger."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def patients(self) -> Sequence[int]:
        """The accounts of patients with live visits that an older version booked and nobody was told of, next first."""
        return (await self._session.scalars(_PATIENTS)).all()

    async def now(self) -> datetime:
        """The database's clock, which all workers share."""
        return (await self._session.execute(select(func.now()))).scalar_one()
