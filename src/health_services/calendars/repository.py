"""SQL of calendar feeds, and of what calendars show."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.calendars.models import CalendarFeed
from health_services.database.base import AnyRow

_OWNER = text("SELECT feed_owner(:token_hash)")
# Two branches, so that each finds its appointments by an index; UNION, for a doctor may be his own patient.
_FEED = text(
    """SELECT p.locale, r.preferred_language, own.*
       FROM users u
       LEFT JOIN notification_preferences p ON p.user_id = u.id
       LEFT JOIN patients r ON r.user_id = u.id
       LEFT JOIN LATERAL (
           SELECT * FROM (
               SELECT * FROM appointment_details
               WHERE patient_id = CAST(:patient_id AS bigint) AND is_active AND starts_at >= :since
               UNION
               SELECT * FROM appointment_details
               WHERE doctor_id = CAST(:doctor_id AS bigint) AND is_active AND starts_at >= :since
           ) AS either
           ORDER BY starts_at < :now, abs(extract(epoch FROM starts_at - :now)), appointment_id LIMIT :most
       ) AS own ON true
       WHERE u.id = :user_id
       ORDER BY own.starts_at, own.appointment_id"""
)
_ONE = text(
    """SELECT p.locale, r.preferred_language, v.*
       FROM appointment_details v
       LEFT JOIN notification_preferences p ON p.user_id = :reader
       LEFT JOIN patients r ON r.user_id = :reader
       WHERE v.appointment_id = :appointment_id"""
)


class CalendarRepository:
    """People's feeds, and appointments as calendars show them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def replace(self, user_id: int, token_hash: bytes) -> None:
        """Give the person a feed with this token; the one before ends."""
        query = insert(CalendarFeed).values(user_id=user_id, token_hash=token_hash)
        changes = {"token_hash": query.excluded.token_hash, "created_at": func.now()}
        await self._session.execute(query.on_conflict_do_update(index_elements=["user_id"], set_=changes))

    async def created_at(self, user_id: int) -> datetime | None:
        """Since when the person has his feed; None without one."""
        found: datetime | None = await self._session.scalar(
            select(CalendarFeed.created_at).where(CalendarFeed.user_id == user_id)
        )
        return found

    async def remove(self, user_id: int) -> None:
        """End the person's feed, if he has one."""
        await self._session.execute(delete(CalendarFeed).where(CalendarFeed.user_id == user_id))

    async def owner(self, token_hash: bytes) -> int | None:
        """Whose feed has this token, whoever asks; None for one that opens nothing."""
        found: int | None = await self._session.scalar(_OWNER, {"token_hash": token_hash})
        return found

    async def feed(self, owner: Caller, since: datetime, now: datetime, most: int) -> Sequence[AnyRow]:
        """The owner's appointments, as patient and as doctor, from `since` on, by start.

        If there are more than `most`, those next to come, and then those last past.

        `locale` and `preferred_language` tell which language he reads.
        One row without an `appointment_id`: he has none.
        """
        whose = {"user_id": owner.id, "patient_id": owner.patient_id, "doctor_id": owner.doctor_id}
        values = whose | {"since": since, "now": now, "most": most}
        return (await self._session.execute(_FEED, values)).all()

    async def one(self, appointment_id: int, reader: int) -> AnyRow | None:
        """One appointment, also one entered in error, with `locale` and `preferred_language` of that account."""
        values = {"appointment_id": appointment_id, "reader": reader}
        return (await self._session.execute(_ONE, values)).one_or_none()
