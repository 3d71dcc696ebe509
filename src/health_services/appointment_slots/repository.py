"""SQL of the appointment_slots table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, bindparam, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.appointment_slots.models import AppointmentSlot as Slot
from health_services.clinics.models import Clinic
from health_services.database.base import AnyRow
from health_services.database.driver import fetch_text
from health_services.doctors.models import Doctor
from health_services.pagination import Page

_COLUMNS = (
    Slot.id, Slot.doctor_id, Slot.clinic_id, Slot.slot_datetime, Slot.duration_minutes, Slot.capacity,
    Slot.booked_count, (Slot.capacity - Slot.booked_count).label("available_slots"), Slot.is_booked, Slot.is_active,
    Slot.created_at, Slot.updated_at,
)  # fmt: skip

# In the order of the locks, so that two lists of slots cannot wait for each other.
_TAKE_TURN = text(
    """SELECT pg_advisory_xact_lock(1, turn)
       FROM (SELECT DISTINCT hashint8(doctor) AS turn FROM unnest(:doctors) AS doctor ORDER BY turn) AS turns"""
).bindparams(bindparam("doctors", type_=ARRAY(BigInteger)))

# The overlap in the words of the exclusion constraint, so that its index finds it.
_OVERLAPPING = text(
    """SELECT n.place FROM unnest(:doctors, :starts, :minutes) WITH ORDINALITY AS n (doctor_id, at, minutes, place)
       WHERE EXISTS (
           SELECT FROM appointment_slots s
           WHERE s.is_active AND s.doctor_id = n.doctor_id
             AND tsrange(s.slot_datetime AT TIME ZONE 'UTC',
                         (s.slot_datetime AT TIME ZONE 'UTC') + make_interval(mins => s.duration_minutes))
                 && tsrange(n.at AT TIME ZONE 'UTC', (n.at AT TIME ZONE 'UTC') + make_interval(mins => n.minutes)))
       ORDER BY n.place"""
).bindparams(
    bindparam("doctors", type_=ARRAY(BigInteger)),
    bindparam("starts", type_=ARRAY(DateTime(timezone=True))),
    bindparam("minutes", type_=ARRAY(Integer)),
)


def _instant(column: str) -> str:
    """SQL of an instant as it stands in the API's answers: in UTC, with six digits of a second where there are any."""
    written = f"left(to_json({column} AT TIME ZONE 'UTC')::text, -1)"
    return (
        f"CASE date_trunc('second', {column}) WHEN {column} THEN {written} ELSE rpad({written}, 27, '0') END || 'Z\"'"
    )


# SlotRead in its order, written by PostgreSQL: to read a hundred rows into Python, only to write them again, takes
# longer than all the rest of a request.
_JSON = (
    "'{' || "
    + " || ',' || ".join(
        f"""'"{name}":' || {sql}"""
        for name, sql in {
            "id": "s.id",
            "doctor_id": "s.doctor_id",
            "clinic_id": "s.clinic_id",
            "slot_datetime": _instant("s.slot_datetime"),
            "duration_minutes": "s.duration_minutes",
            "capacity": "s.capacity",
            "booked_count": "s.booked_count",
            "available_slots": "s.capacity - s.booked_count",
            "is_booked": "s.is_booked",
            "is_active": "s.is_active",
            "created_at": _instant("s.created_at"),
            "updated_at": _instant("s.updated_at"),
        }.items()
    )
    + " || '}'"
)
_BOOKABLE = f"""SELECT {_JSON} FROM appointment_slots s
WHERE s.is_active AND NOT s.is_booked AND s.slot_datetime > $1"""  # noqa: S608 - no caller's text is in it
_IN_ORDER = " ORDER BY s.slot_datetime, s.id LIMIT $2 OFFSET $3"
# How a filter narrows the list. What is not filtered by is looked at row by row; of clinics, few are inactive.
_NARROWED = {
    "doctor_id": "s.doctor_id = {0} AND EXISTS (SELECT FROM doctors WHERE id = {0} AND is_active)",
    "clinic_id": "s.clinic_id = {0} AND EXISTS (SELECT FROM clinics WHERE id = {0} AND is_active)",
    "date_from": "s.slot_datetime >= {0}",
    "date_to": "s.slot_datetime <= {0}",
}
_ANY = {
    "doctor_id": "(SELECT d.is_active FROM doctors d WHERE d.id = s.doctor_id)",
    "clinic_id": "s.clinic_id NOT IN (SELECT id FROM clinics WHERE NOT is_active)",
}


@dataclass(frozen=True)
class Filter:
    """Which bookable slots are asked for; both ends of the time are included."""

    doctor_id: int | None = None
    clinic_id: int | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None


class AppointmentSlotRepository:
    """Slots: what can be booked, and what a doctor already offers."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def wait_for_turn(self, doctor_ids: set[int]) -> None:
        """Let only one transaction at a time make slots for a doctor.

        At the exclusion constraint alone, writers that overlap end in deadlocks. A lock on the doctor's row would
        stand in the way of bookings, which take it for the first appointment of a day.
        """
        await self._session.execute(_TAKE_TURN, {"doctors": sorted(doctor_ids)})

    async def doctors(self, doctor_ids: set[int]) -> dict[int, AnyRow]:
        """`clinic_id`, `is_active` and `clinic_is_active` of these doctors, by id."""
        query = (
            select(Doctor.id, Doctor.clinic_id, Doctor.is_active, Clinic.is_active.label("clinic_is_active"))
            .join(Clinic, Clinic.id == Doctor.clinic_id)
            .where(Doctor.id.in_(doctor_ids))
        )
        return {row.id: row for row in await self._session.execute(query)}

    async def existing_clinics(self, clinic_ids: set[int]) -> set[int]:
        """Those of the ids that are clinics."""
        return set(await self._session.scalars(select(Clinic.id).where(Clinic.id.in_(clinic_ids))))

    async def overlapping(self, slots: Sequence[dict[str, Any]]) -> list[int]:
        """The places (from 0) of those that overlap an active slot of their doctor."""
        values = {
            "doctors": [slot["doctor_id"] for slot in slots],
            "starts": [slot["slot_datetime"] for slot in slots],
            "minutes": [slot["duration_minutes"] for slot in slots],
        }
        return [place - 1 for place in await self._session.scalars(_OVERLAPPING, values)]

    async def add(self, slots: Sequence[dict[str, Any]]) -> Sequence[AnyRow]:
        """Insert all of them; the rows in the same order."""
        statement = insert(Slot).returning(*_COLUMNS, sort_by_parameter_order=True)
        return (await self._session.execute(statement, list(slots))).all()

    async def get(self, slot_id: int) -> AnyRow | None:
        """One slot, active or not."""
        return (await self._session.execute(select(*_COLUMNS).where(Slot.id == slot_id))).one_or_none()

    async def get_for_update(self, slot_id: int) -> Slot | None:
        """One slot, locked until the transaction ends."""
        return await self._session.get(Slot, slot_id, with_for_update={"key_share": True}, populate_existing=True)

    async def bookable(self, wanted: Filter, now: datetime, page: Page) -> list[str]:
        """What can be booked now, by start and id, each as JSON of a SlotRead; one more than the page holds."""
        query, values = _bookable(wanted, now, page)
        return [row[0] for row in await fetch_text(self._session, query, *values)]


def _bookable(wanted: Filter, now: datetime, page: Page) -> tuple[str, list[Any]]:
    """The statement, whose text depends only on which filters there are, and its values."""
    values: list[Any] = [now, page.probe, page.skip]
    conditions = []
    if page.after is not None:
        values += page.after
        conditions.append("(s.slot_datetime, s.id) > ($4, $5)")
    for name, condition in _NARROWED.items():
        value = getattr(wanted, name)
        if value is not None:
            values.append(value)
            conditions.append(condition.format(f"${len(values)}"))
        elif name in _ANY:
            conditions.append(_ANY[name])
    return " AND ".join([_BOOKABLE, *conditions]) + _IN_ORDER, values
