"""/appointments, /patients/{id}/appointments and /doctors/{id}/appointments."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import DefaultLocale, Now, Paging, Session
from health_services.api.fields import IdInUrl, Instant
from health_services.api.openapi import errors
from health_services.appointments import service
from health_services.appointments.models import AppointmentStatus
from health_services.appointments.repository import Filter
from health_services.appointments.schemas import (
    AppointmentCancel,
    AppointmentCreate,
    AppointmentRead,
    AppointmentUpdate,
)
from health_services.calendars.endpoints import CALENDAR, calendar_answer
from health_services.errors import (
    ConflictException,
    DuplicateBookingException,
    ResourceNotFoundException,
    SlotUnavailableException,
)
from health_services.notifications.schemas import NotificationRead

router = APIRouter(prefix="/appointments", tags=["Appointments"], route_class=GuardedRoute)
patient_router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)
doctor_router = APIRouter(prefix="/doctors", tags=["Doctors"], route_class=GuardedRoute)


async def requested_filter(
    status: Annotated[AppointmentStatus | None, Query()] = None,
    clinic_id: Annotated[IdInUrl | None, Query()] = None,
    patient_id: Annotated[IdInUrl | None, Query()] = None,
    date_from: Annotated[Instant | None, Query(description="earliest start of the slot, included")] = None,
    date_to: Annotated[Instant | None, Query(description="latest start of the slot, included")] = None,
) -> Filter:
    """What the lists of appointments can be narrowed by."""
    return Filter(status=status, clinic_id=clinic_id, patient_id=patient_id, date_from=date_from, date_to=date_to)


Wanted = Annotated[Filter, Depends(requested_filter, scope="function")]


@router.post(
    "/book",
    status_code=201,
    summary="Book an appointment",
    response_model=AppointmentRead,
    responses=errors(ResourceNotFoundException, SlotUnavailableException, DuplicateBookingException, ConflictException),
)
@requires("appointments:book")
async def book_appointment(session: Session, caller: CurrentCaller, body: AppointmentCreate, now: Now) -> Any:
    """A patient for himself, a doctor on his own slots, staff at their clinics, an administrator for anyone.

    With an `Idempotency-Key`, a request that is sent again after a lost answer books nothing twice.
    """
    return await service.book(session, caller, body, now)


@router.post(
    "/{appointment_id}/cancel",
    summary="Cancel an appointment",
    response_model=AppointmentRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("appointments:cancel")
async def cancel_appointment(
    session: Session,
    caller: CurrentCaller,
    appointment_id: IdInUrl,
    now: Now,
    body: AppointmentCancel | None = None,
) -> Any:
    """The patient concerned until the slot starts, the doctor concerned, staff of the clinic, administrators.

    The place is free again at once.
    """
    return await service.cancel(session, caller, appointment_id, body or AppointmentCancel(), now)


@router.get(
    "/{appointment_id}",
    summary="Get an appointment",
    response_model=AppointmentRead,
    responses=errors(ResourceNotFoundException),
)
@requires("appointments:read")
async def get_appointment(session: Session, caller: CurrentCaller, appointment_id: IdInUrl) -> Any:
    """The patient and the doctor concerned, staff of the clinic, administrators."""
    return await service.read(session, caller, appointment_id)


@router.get(
    "/{appointment_id}/notifications",
    summary="List the messages about an appointment",
    response_model=list[NotificationRead],
    responses=errors(ResourceNotFoundException),
)
@requires("appointments:read")
async def list_appointment_notifications(
    session: Session, caller: CurrentCaller, listing: Paging, appointment_id: IdInUrl
) -> Any:
    """What was and will be sent about it, by id; for those who may read the appointment."""
    return listing.answer(await service.list_notifications(session, caller, appointment_id, listing.page))


@router.get(
    "/{appointment_id}/calendar.ics",
    summary="Get an appointment as a calendar file",
    response_class=Response,
    responses=CALENDAR | errors(ResourceNotFoundException),
)
@requires("appointments:read")
async def get_appointment_calendar(
    session: Session, caller: CurrentCaller, appointment_id: IdInUrl, locale: DefaultLocale
) -> Any:
    """One iCalendar entry (RFC 5545), for those who may read the appointment; nothing clinical is in it."""
    return calendar_answer(await service.calendar(session, caller, appointment_id, locale))


@router.put(
    "/{appointment_id}",
    summary="Update an appointment",
    response_model=AppointmentRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("appointments:write")
async def update_appointment(
    session: Session, caller: CurrentCaller, appointment_id: IdInUrl, body: AppointmentUpdate
) -> Any:
    """The doctor concerned writes `notes`; an administrator marks what was entered in error (`is_active: false`)."""
    return await service.update(session, caller, appointment_id, body)


@router.get("", summary="List all appointments", response_model=list[AppointmentRead], responses=errors())
@requires("appointments:list")
async def list_appointments(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    wanted: Wanted,
    doctor_id: Annotated[IdInUrl | None, Query()] = None,
) -> Any:
    """Administrators see all, staff those of their clinics; by id."""
    narrowed = wanted.of_doctor(doctor_id)
    return listing.answer(await service.list_all(session, caller, narrowed, listing.page))


@patient_router.get(
    "/{patient_id}/appointments",
    summary="List a patient's appointments",
    response_model=list[AppointmentRead],
    responses=errors(ResourceNotFoundException),
)
@requires("patients:appointments")
async def list_patient_appointments(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    patient_id: IdInUrl,
) -> Any:
    """The patient and administrators see all, a doctor his own with the patient, staff those of their clinics."""
    return listing.answer(await service.list_of_patient(session, caller, patient_id, listing.page))


@doctor_router.get(
    "/{doctor_id}/appointments",
    summary="List a doctor's appointments",
    response_model=list[AppointmentRead],
    responses=errors(ResourceNotFoundException),
)
@requires("doctors:appointments")
async def list_doctor_appointments(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    wanted: Wanted,
    doctor_id: IdInUrl,
) -> Any:
    """The doctor himself, administrators, and staff of his clinic (those at their clinics); by id."""
    return listing.answer(await service.list_of_doctor(session, caller, wanted, doctor_id, listing.page))
