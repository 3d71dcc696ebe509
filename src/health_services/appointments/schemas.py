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
    example,
    unless_sent,
)
from health_services.appointments.models import AppointmentStatus


class AppointmentCreate(RequestShape):
    """A place to book; doctor and clinic are the slot's own, so that a stale screen books nothing else."""

    model_config = example(
        patient_id=1,
        doctor_id=1,
        clinic_id=1,
        slot_id=1,
        reason_for_visit="Regular checkup",
    )

    patient_id: Id
    doctor_id: Id
    clinic_id: Id
    slot_id: Id
    reason_for_visit: Annotated[Text1000 | None, Blank] = None


class AppointmentCancel(RequestShape):
    """Why; may be left out, and so may the whole body."""

    model_config = example(
        cancelled_reason="Unable to attend due to emergency",
    )

    cancelled_reason: Annotated[Text1000 | None, Blank] = None


class AppointmentUpdate(RequestShape):
    """The doctor's notes, or (administrators) whether it was entered in error."""

    model_config = example(
        notes="Blood pressure 120/80.",
    )

    notes: Annotated[Text10000 | None, Blank] = None
    is_active: Truth = unless_sent()


class AppointmentRead(AnswerShape):
    """An appointment; `notes` are null for everybody but its doctor and, once completed, its patient.

    `revision` rises with every change that others are told of; calendars call it SEQUENCE.
    """

    model_config = example(
        id=1,
        patient_id=1,
        doctor_id=1,
        clinic_id=1,
        slot_id=1,
        slot_datetime="2030-03-01T10:00:00Z",
        duration_minutes=30,
        status="pending",
        reason_for_visit="Regular checkup",
        notes=None,
        cancelled_at=None,
        cancelled_reason=None,
        is_active=True,
        revision=0,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
    )

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
    revision: int
    created_at: datetime
    updated_at: datetime
