"""Booking, cancelling and reading appointments: every door comes through these functions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, refusal
from health_services.announcements import service as announcements
from health_services.announcements.service import Happening
from health_services.appointments.models import LIVE, Appointment, AppointmentStatus
from health_services.appointments.repository import AppointmentRepository, Booked, Booking, Facts, Filter
from health_services.appointments.schemas import (
    AppointmentCancel,
    AppointmentCreate,
    AppointmentRead,
    AppointmentUpdate,
)
from health_services.calendars import service as calendars
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.database.constraints import DAY_FULL, SLOT_FULL, SLOT_INACTIVE
from health_services.doctors.service import read as read_doctor
from health_services.errors import (
    AuthorizationException,
    ConflictException,
    DuplicateBookingException,
    HealthServicesError,
    ResourceNotFoundException,
    SlotUnavailableException,
    ValidationException,
)
from health_services.freshness.versions import of_slot
from health_services.notifications.models import Kind
from health_services.notifications.planning import Contact, PlannedVisit
from health_services.notifications.repository import NotificationRepository
from health_services.pagination import Page
from health_services.patients.service import NO_PATIENT
from health_services.patients.service import exists as patient_exists
from health_services.users.models import Role

NO_APPOINTMENT = "There is no such appointment."


async def book(session: AsyncSession, caller: Caller, request: AppointmentCreate, now: datetime) -> AppointmentRead:
    """Take a place in a slot for a patient: the one booking function.

    Raises ResourceNotFoundException, AuthorizationException, ValidationException, SlotUnavailableException,
    DuplicateBookingException, ConflictException. The database decides; what is read here makes the message kinder.
    """
    caller.trail.concerns(request.patient_id)
    appointments = AppointmentRepository(session)
    booking = Booking(
        patient_id=request.patient_id,
        doctor_id=request.doctor_id,
        clinic_id=request.clinic_id,
        slot_id=request.slot_id,
        reason=request.reason_for_visit,
        booked_by=caller.id,
        is_agreed=caller.is_patient(request.patient_id) or caller.role is not Role.DOCTOR,
        id=getattr(caller.account, "drawn_id", None),
    )
    if not may_book(caller, request):
        raise why_not_booked(await appointments.facts(booking, now), is_allowed=False)
    row = await appointments.book(booking, now)
    if isinstance(row, Facts):
        raise why_not_booked(row, is_allowed=True)
    made = AppointmentRead.model_validate(row)
    await _announce(session, Kind.APPOINTMENT_BOOKED, made, row, now, is_urgent=False)
    return made  # which has no notes yet


def may_book(caller: Caller, request: AppointmentCreate) -> bool:
    """A patient for himself, a doctor on his own slots, staff at their clinics, an administrator for anyone.

    Doctor and clinic are taken from the request: the booking itself refuses those that are not the slot's.
    """
    return (
        caller.is_patient(request.patient_id) or caller.is_doctor(request.doctor_id) or caller.runs(request.clinic_id)
    )


def why_not_booked(facts: Facts, *, is_allowed: bool) -> HealthServicesError:
    """The first reason, in the order in which the contract names them."""
    if not facts.has_slot:
        return ResourceNotFoundException("There is no such slot.")
    if not facts.has_patient:
        return ResourceNotFoundException(NO_PATIENT)
    if not is_allowed:
        return AuthorizationException()
    if not facts.is_slots_doctor:
        return ValidationException.of("doctor_id", "must be the slot's own doctor")
    if not facts.is_slots_clinic:
        return ValidationException.of("clinic_id", "must be the slot's own clinic")
    if not facts.patient_is_active:
        return ConflictException("This patient is not active and cannot be booked.")
    if facts.is_duplicate:
        return DuplicateBookingException()
    return SlotUnavailableException(_why_unavailable(facts))


def _why_unavailable(facts: Facts) -> str:
    if not facts.slot_is_active:
        return SLOT_INACTIVE
    if not facts.doctor_is_active:
        return "This doctor is not active."
    if not facts.clinic_is_active:
        return "This clinic is not active."
    if facts.has_started:
        return "This slot has started already."
    if facts.day_is_full and not facts.is_full:
        return DAY_FULL
    return SLOT_FULL


async def cancel(
    session: AsyncSession, caller: Caller, appointment_id: int, request: AppointmentCancel, now: datetime
) -> AppointmentRead:
    """Cancel and give the place back: the patient concerned until the start, the doctor concerned, the clinic."""
    appointment, slot = await _held(session, caller, appointment_id)
    is_clinic = caller.is_doctor(appointment.doctor_id) or caller.runs(appointment.clinic_id)
    appointment.cancel(now, request.cancelled_reason)
    if slot.slot_datetime <= now and not is_clinic:
        raise ConflictException("This appointment has started; please call the clinic.")
    await session.flush()
    changed = _joined(appointment, slot)
    by = "patient" if caller.is_patient(appointment.patient_id) else "clinic"
    await _announce(session, Kind.APPOINTMENT_CANCELLED, changed, slot, now, by=by)
    return _shown_to(caller, changed)


async def _announce(
    session: AsyncSession,
    kind: Kind,
    changed: AppointmentRead,
    slot: AnyRow | Booked,
    now: datetime,
    *,
    is_urgent: bool = True,
    **data: str,
) -> None:
    """Write what is to be told, and end kept lists; `slot` carries the patient's `contact` and the clinic's zone."""
    touch(session, *of_slot(changed.slot_id, changed.doctor_id, changed.clinic_id))
    visit = PlannedVisit(changed.id, changed.revision, slot.slot_datetime, slot.time_zone)
    happening = Happening(kind, visit, Contact.read(slot.contact), changed.model_dump(mode="json"), data)
    await announcements.of_appointment(session, happening, now, is_urgent=is_urgent)


async def update(
    session: AsyncSession, caller: Caller, appointment_id: int, request: AppointmentUpdate
) -> AppointmentRead:
    """The doctor concerned writes notes; an administrator marks what was entered in error, once it is not live."""
    appointment, slot = await _held(session, caller, appointment_id)
    changes = request.sent()
    if not (caller.is_doctor(appointment.doctor_id) or caller.is_admin):
        raise AuthorizationException
    if "notes" in changes and not caller.is_doctor(appointment.doctor_id):
        raise AuthorizationException("Only the doctor of the appointment writes its notes.")
    if "is_active" in changes and not caller.is_admin:
        raise AuthorizationException("Only an administrator marks what was entered in error.")
    if changes.get("is_active") is False and appointment.status in LIVE:
        raise ConflictException("This appointment is live; cancel it first.")
    await AppointmentRepository(session).change(appointment, changes)
    return _shown_to(caller, _joined(appointment, slot))


async def read(session: AsyncSession, caller: Caller, appointment_id: int) -> AppointmentRead:
    """One appointment; raises ResourceNotFoundException, AuthorizationException."""
    row = await AppointmentRepository(session).get(appointment_id)
    if row is None or not _is_concerned(caller, row):
        raise await refusal(session, caller, "appointment", appointment_id, NO_APPOINTMENT)
    caller.trail.concerns(row.patient_id)
    return _shown_to(caller, row)


async def _held(session: AsyncSession, caller: Caller, appointment_id: int) -> tuple[Appointment, AnyRow]:
    """An appointment that concerns the caller, locked, with its slot; raises as `read`."""
    found = await AppointmentRepository(session).get_for_update(appointment_id)
    if found is None or not _is_concerned(caller, found[0]):
        raise await refusal(session, caller, "appointment", appointment_id, NO_APPOINTMENT)
    caller.trail.concerns(found[0].patient_id)
    return found


async def list_notifications(
    session: AsyncSession, caller: Caller, appointment_id: int, page: Page
) -> Sequence[AnyRow]:
    """The messages about an appointment, for those who may read it; raises as `read`."""
    await read(session, caller, appointment_id)
    return await NotificationRepository(session).of_appointment(appointment_id, page)


async def calendar(session: AsyncSession, caller: Caller, appointment_id: int, default_locale: str) -> bytes:
    """The appointment as an iCalendar file in the caller's language, for those who may read it; raises as `read`."""
    await read(session, caller, appointment_id)
    return await calendars.single(session, caller, appointment_id, default_locale)


async def list_all(session: AsyncSession, caller: Caller, wanted: Filter, page: Page) -> list[AppointmentRead]:
    """Everything for administrators, the appointments of their clinics for staff."""
    clinic_ids = None if caller.is_admin else sorted(caller.clinic_ids)
    return await _listed(session, caller, replace(wanted, clinic_ids=clinic_ids), page)


async def list_of_patient(session: AsyncSession, caller: Caller, patient_id: int, page: Page) -> list[AppointmentRead]:
    """All for the patient and administrators; a doctor sees his own with the patient, staff those of their clinics."""
    if not await patient_exists(session, patient_id):
        raise ResourceNotFoundException(NO_PATIENT)
    caller.trail.concerns(patient_id)
    wanted = Filter(patient_id=patient_id)
    if not (caller.is_admin or caller.is_patient(patient_id)):
        if caller.doctor_id is not None:
            wanted = replace(wanted, doctor_id=caller.doctor_id)
        elif caller.role is Role.STAFF:
            wanted = replace(wanted, clinic_ids=sorted(caller.clinic_ids))
        else:
            raise AuthorizationException
    return await _listed(session, caller, wanted, page)


async def list_of_doctor(
    session: AsyncSession, caller: Caller, wanted: Filter, doctor_id: int, page: Page
) -> list[AppointmentRead]:
    """The doctor's own, for himself and administrators; staff of his clinic see those at their clinics."""
    doctor = await read_doctor(session, doctor_id)
    if not (caller.is_doctor(doctor_id) or caller.runs(doctor.clinic_id)):
        raise AuthorizationException
    clinic_ids = sorted(caller.clinic_ids) if caller.role is Role.STAFF else None
    return await _listed(session, caller, replace(wanted, doctor_id=doctor_id, clinic_ids=clinic_ids), page)


async def _listed(session: AsyncSession, caller: Caller, wanted: Filter, page: Page) -> list[AppointmentRead]:
    rows = await AppointmentRepository(session).list(wanted, page)
    caller.trail.concerns(*(row.patient_id for row in page.cut(rows)[0]))
    return [_shown_to(caller, row) for row in rows]


def _is_concerned(caller: Caller, appointment: Appointment | AnyRow) -> bool:
    return (
        caller.is_patient(appointment.patient_id)
        or caller.is_doctor(appointment.doctor_id)
        or caller.runs(appointment.clinic_id)
    )


def _joined(appointment: Appointment, slot: AnyRow) -> AppointmentRead:
    """The changed appointment as the database now has it, without reading it again."""
    own = {field: getattr(appointment, field, None) for field in AppointmentRead.model_fields}
    return AppointmentRead.model_validate(
        own | {"slot_datetime": slot.slot_datetime, "duration_minutes": slot.duration_minutes}
    )


def _shown_to(caller: Caller, row: AnyRow | AppointmentRead) -> AppointmentRead:
    """Notes are the doctor's, and the patient's once the visit is over."""
    appointment = AppointmentRead.model_validate(row)
    is_over = appointment.status is AppointmentStatus.COMPLETED
    if caller.is_doctor(row.doctor_id) or (is_over and caller.is_patient(row.patient_id)):
        return appointment
    return appointment.model_copy(update={"notes": None})
