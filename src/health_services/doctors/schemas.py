"""Doctors: what is sent and answered."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from health_services.api.fields import (
    AnswerShape,
    Blank,
    Id,
    Line64,
    Line100,
    RequestShape,
    Text1000,
    Truth,
    unless_sent,
)

Years = Annotated[int, Field(strict=True, ge=0, le=80)]
PatientsPerDay = Annotated[int, Field(strict=True, ge=1, le=1000)]


class DoctorCreate(RequestShape):
    """The doctor record of an account with the role doctor."""

    user_id: Id
    clinic_id: Id
    specialty: Line100
    license_number: Line64
    qualifications: Annotated[Text1000 | None, Blank] = None
    experience_years: Years = 0
    max_patients_per_day: PatientsPerDay = 20


class DoctorUpdate(RequestShape):
    """What of a doctor changes; what is left out stays."""

    clinic_id: Id = unless_sent()
    specialty: Line100 = unless_sent()
    license_number: Line64 = unless_sent()
    qualifications: Annotated[Text1000 | None, Blank] = None
    experience_years: Years = unless_sent()
    max_patients_per_day: PatientsPerDay = unless_sent()
    is_active: Truth = unless_sent()


class DoctorRead(AnswerShape):
    """A doctor of the directory."""

    id: int
    user_id: int
    clinic_id: int
    name: str
    specialty: str
    license_number: str
    qualifications: str | None
    experience_years: int
    max_patients_per_day: int
    is_active: bool
    created_at: datetime
    updated_at: datetime
