"""SQL of the appointments table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Select, bindparam, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from health_services.appointment_slots.models import AppointmentSlot as Slot
from health_services.appointments.models import Appointment, AppointmentStatus
from health_services.clinics.models import Clinic
from health_services.database.base import AnyRow
from health_services.database.driver import Row, Statement, fetch
from health_services.database.sealing import opened, sealed, vault_of
from health_services.pagination import Page

_COLUMNS = (
    Appointment.id, Appointment.patient_id, Appointment.doctor_id, Appointment.clinic_id, Appointment.slot_id,
    Slot.slot_datetime, Slot.duration_minutes, Appointment.status, Appointment.reason_for_visit, Appointment.notes,
    Appointment.cancelled_at, Appointment.cancelled_reason, Appointment.is_active, Appointment.revision,
    Appointment.created_at, Appointment.updated_at,
)  # fmt: skip

_TABLE, _SEALED = "appointments", ("reason_for_visit", "notes")
# A sealed text is bound to its row's id, which has to be known before.
_NEXT_ID = Statement("SELECT nextval('appointments_id_seq') AS id")

# Everything that can stand against a booking, for a kind answer to one that was refused: see Facts.
_FACTS = """
       SELECT to_jsonb(found) FROM (
           SELECT s.id IS NOT NULL AS has_slot, p.user_id IS NOT NULL AS has_patient,
                  s.doctor_id = :doctor_id AS is_slots_doctor, s.clinic_id = :clinic_id AS is_slots_clinic,
                  p.is_active AS patient_is_active, s.is_active AS slot_is_active, d.is_active AS doctor_is_active,
                  c.is_active AS clinic_is_active, s.slot_datetime <= :now AS has_started,
                  s.booked_count >= s.capacity AS is_full, y.booked_count >= y.max_patients AS day_is_full,
                  EXISTS (SELECT FROM appointments a WHERE a.slot_id = s.id AND a.patient_id = :patient_id
                          AND a.status IN ('pending', 'confirmed')) AS is_duplicate
           FROM (SELECT 1) AS one
           LEFT JOIN appointment_slots s ON s.id = :slot_id
           LEFT JOIN doctors d ON d.id = s.doctor_id
           LEFT JOIN clinics c ON c.id = s.clinic_id
           LEFT JOIN doctor_days y ON y.doctor_id = s.doctor_id AND y.local_date = s.local_date
           LEFT JOIN patient_account(:patient_id) p ON true
       ) AS found"""
_WHY_NOT = Statement(f"SELECT ({_FACTS}) AS against")

# One statement decides and writes. What it read may be stale by the time it writes; then the triggers and
# constraints behind the INSERT refuse, after they have waited for whoever was first. Where nothing was written, the one
# row says what stood against it.
_BOOK = Statement(
    f"""WITH place AS (
           SELECT s.id, s.doctor_id, s.clinic_id, s.slot_datetime, s.duration_minutes, c.time_zone,
                  p.user_id AS patient_user_id
           FROM appointment_slots s
           JOIN doctors d ON d.id = s.doctor_id AND d.is_active
           JOIN clinics c ON c.id = s.clinic_id AND c.is_active
           JOIN patient_account(:patient_id) p ON p.is_active
           WHERE s.id = :slot_id AND s.doctor_id = :doctor_id AND s.clinic_id = :clinic_id
             AND s.is_active AND s.booked_count < s.capacity AND s.slot_datetime > :now
       ), made AS (
           INSERT INTO appointments (id, patient_id, doctor_id, clinic_id, slot_id, reason_for_visit, booked_by_user_id,
                                     is_agreed)
           OVERRIDING SYSTEM VALUE
           SELECT COALESCE(CAST(:id AS bigint), nextval('appointments_id_seq')), :patient_id,
                  doctor_id, clinic_id, id, :reason, :booked_by, :is_agreed FROM place
           RETURNING id, patient_id, doctor_id, clinic_id, slot_id, status, reason_for_visit, notes, cancelled_at,
                     cancelled_reason, is_active, revision, created_at, updated_at
       )
       SELECT made.*, place.slot_datetime, place.duration_minutes, place.time_zone,
              contact_of(place.patient_user_id) AS contact, CASE WHEN made.id IS NULL THEN ({_FACTS}) END AS against
       FROM (SELECT 1) AS one LEFT JOIN (made CROSS JOIN place) ON true"""  # noqa: S608 - no caller's text is in it
)


@dataclass(frozen=True)
class Booking:
    """What one booking writes; `id` is that of the new row where one was drawn for it."""

    patient_id: int
    doctor_id: int
    clinic_id: int
    slot_id: int
    reason: str | None
    booked_by: int
    is_agreed: bool
    id: int | None = None


class Booked(SimpleNamespace):
    """An appointment that was made, as AppointmentRead names it; with `time_zone` and `contact`."""


@dataclass(frozen=True)
class Facts:
    """What stands against a booking. What a thing that is not there would say is None."""

    has_slot: bool
    has_patient: bool
    is_slots_doctor: bool | None
    is_slots_clinic: bool | None
    patient_is_active: bool | None
    slot_is_active: bool | None
    doctor_is_active: bool | None
    clinic_is_active: bool | None
    has_started: bool | None
    is_full: bool | None
    day_is_full: bool | None
    is_duplicate: bool


@dataclass(frozen=True)
class Filter:
    """Which appointments are asked for; both ends of the slot's start are included.

    `clinic_ids` is what the caller may see, None for all.
    """

    status: AppointmentStatus | None = None
    doctor_id: int | None = None
    clinic_id: int | None = None
    patient_id: int | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None
    clinic_ids: Collection[int] | None = None

    @property
    def is_short(self) -> bool:
        """Whether it is of a month at most."""
        return bool(self.date_from and self.date_to and self.date_to - self.date_from <= timedelta(days=31))

    def of_doctor(self, doctor_id: int | None) -> "Filter":
        """The same for one doctor."""
        return replace(self, doctor_id=doctor_id)


def _within(query: Select[*tuple[Any, ...]], wanted: Filter) -> Select[*tuple[Any, ...]]:
    """Only what begins then; the slot's doctor and clinic are the appointment's, and have an index with the time."""
    if wanted.date_from is not None:
        query = query.where(Slot.slot_datetime >= wanted.date_from)
    if wanted.date_to is not None:
        query = query.where(Slot.slot_datetime <= wanted.date_to)
    if wanted.date_from is None and wanted.date_to is None:
        return query
    if wanted.doctor_id is not None:
        query = query.where(Slot.doctor_id == wanted.doctor_id)
    if wanted.clinic_id is not None:
        query = query.where(Slot.clinic_id == wanted.clinic_id)
    if wanted.clinic_ids is not None:
        query = query.where(Slot.clinic_id.in_(wanted.clinic_ids))
    return query


class AppointmentRepository:
    """Appointments, each with the time of its slot."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def book(self, booking: Booking, now: datetime) -> Booked | Facts:
        """Take a place; or what stands against it, in the same round trip."""
        values = {**vars(booking), "now": now}
        if booking.reason is not None:
            if booking.id is None:
                ((values["id"],),) = await fetch(self._session, _NEXT_ID, {})
            reason = vault_of(self._session).seal(_TABLE, "reason_for_visit", values["id"], booking.reason)
            values["reason"] = reason
        (row,) = await fetch(self._session, _BOOK, values)
        return Booked(**{**row, "reason_for_visit": booking.reason}) if row.against is None else _facts(row)

    async def facts(self, booking: Booking, now: datetime) -> Facts:
        """What stands against a booking that is not tried."""
        (row,) = await fetch(self._session, _WHY_NOT, {**vars(booking), "now": now})
        return _facts(row)

    async def get(self, appointment_id: int) -> AnyRow | None:
        """One appointment, also one entered in error."""
        query = select(*_COLUMNS).join(Slot, Slot.id == Appointment.slot_id).where(Appointment.id == appointment_id)
        return self._opened((await self._session.execute(query)).all())

    async def get_for_update(self, appointment_id: int) -> tuple[Appointment, AnyRow] | None:
        """One appointment, locked until the transaction ends.

        With `slot_datetime` and `duration_minutes` of its slot, the clinic's `time_zone`, and the patient's `contact`.
        """
        account = func.patient_account(Appointment.patient_id).table_valued("user_id").lateral()
        query = (
            select(
                Appointment,
                Slot.slot_datetime,
                Slot.duration_minutes,
                Clinic.time_zone,
                func.contact_of(account.c.user_id).label("contact"),
            )
            .join(Slot, Slot.id == Appointment.slot_id)
            .join(Clinic, Clinic.id == Appointment.clinic_id)
            .join(account, true())
            .where(Appointment.id == appointment_id)
            .with_for_update(key_share=True, of=Appointment)
            .execution_options(populate_existing=True)
        )
        row = (await self._session.execute(query)).one_or_none()
        if row is None:
            return None
        appointment: Appointment = row[0]
        for column in _SEALED:
            stored = getattr(appointment, column)
            if stored is not None:
                clear = vault_of(self._session).open(_TABLE, column, appointment_id, stored)
                set_committed_value(appointment, column, clear)
        return appointment, row

    async def change(self, appointment: Appointment, values: dict[str, Any]) -> None:
        """Write these values of an appointment, which has them in the clear afterwards."""
        for name, value in sealed(self._session, _TABLE, _SEALED, appointment.id, values).items():
            setattr(appointment, name, value)
        await self._session.flush()
        for column in values.keys() & set(_SEALED):
            set_committed_value(appointment, column, values[column])

    async def list(self, wanted: Filter, page: Page) -> Sequence[AnyRow]:
        """Appointments by id, without those entered in error; one more than the page holds."""
        query = select(*_COLUMNS).join(Slot, Slot.id == Appointment.slot_id).where(Appointment.is_active)
        if wanted.status is not None:
            # In the statement's text, so that an index of what is seldom is known to do.
            query = query.where(Appointment.status == bindparam(None, wanted.status, literal_execute=True))
        for column, value in (
            (Appointment.doctor_id, wanted.doctor_id),
            (Appointment.clinic_id, wanted.clinic_id),
            (Appointment.patient_id, wanted.patient_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.clinic_ids is not None:
            query = query.where(Appointment.clinic_id.in_(wanted.clinic_ids))
        query = _within(query, wanted)
        # What is short is found by its slots and then sorted: in the order of ids, all before it would be read as well.
        key = Appointment.id + 0 if wanted.is_short else Appointment.id
        rows = await self._session.execute(page.of(query, key))
        return opened(self._session, _TABLE, _SEALED, rows.all())

    def _opened(self, rows: Sequence[AnyRow]) -> AnyRow | None:
        found = opened(self._session, _TABLE, _SEALED, rows)
        return found[0] if found else None


def _facts(row: Row) -> Facts:
    return Facts(**row.against)
