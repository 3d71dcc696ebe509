"""Appointments: what is sent and answered."""

from datetime import datetime
from typing import Annotated

from health_services.api.fields import (
    AnswerShape,
    Blank,
    Id,
    RequestShape,
    Text1000,
    Text10000,
    Truth,
    unless_sent,
)
from health_services.appointments.models import AppointmentStatus


class AppointmentCreate(RequestShape):
    """A place to book; doctor and clinic are the slot's own, so that a stale screen books nothing else."""

    patient_id: Id
    doctor_id: Id
    clinic_id: Id
    slot_id: Id
    reason_for_visit: Annotated[Text1000 | None, Blank] = None


class AppointmentCancel(RequestShape):
    """Why; may be left out, and so may the whole body."""

    cancelled_reason: Annotated[Text1000 | None, Blank] = None


class AppointmentUpdate(RequestShape):
    """The doctor's notes, or (administrators) whether it was entered in error."""

    notes: Annotated[Text10000 | None, Blank] = None
    is_active: Truth = unless_sent()


class AppointmentRead(AnswerShape):
    """An appointment; `notes` are null for everybody but its doctor and, once completed, its patient."""

    id: int
    patient_id: int
    doctor_id: int
    clinic_id: int
    slot_id: int
    slot_datetime: datetime
    duration_minutes: int
    status: AppointmentStatus
    reason_for_visit: str | None
    notes: str | None
    cancelled_at: datetime | None
    cancelled_reason: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime
