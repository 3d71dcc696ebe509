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
    example,
    unless_sent,
)

Years = Annotated[int, Field(strict=True, ge=0, le=80)]
PatientsPerDay = Annotated[int, Field(strict=True, ge=1, le=1000)]


class DoctorCreate(RequestShape):
    """The doctor record of an account with the role doctor."""

    model_config = example(
        user_id=2,
        clinic_id=1,
        specialty="Cardiology",
        license_number="LIC123456",
        qualifications="MD, Board Certified",
        experience_years=5,
        max_patients_per_day=10,
    )

    user_id: Id
    clinic_id: Id
    specialty: Line100
    license_number: Line64
    qualifications: Annotated[Text1000 | None, Blank] = None
    experience_years: Years = 0
    max_patients_per_day: PatientsPerDay = 20


class DoctorUpdate(RequestShape):
    """What of a doctor changes; what is left out stays."""

    model_config = example(
        specialty="Cardiology",
        experience_years=6,
        max_patients_per_day=15,
    )

    clinic_id: Id = unless_sent()
    specialty: Line100 = unless_sent()
    license_number: Line64 = unless_sent()
    qualifications: Annotated[Text1000 | None, Blank] = None
    experience_years: Years = unless_sent()
    max_patients_per_day: PatientsPerDay = unless_sent()
    is_active: Truth = unless_sent()


class DoctorRead(AnswerShape):
    """A doctor of the directory."""

    model_config = example(
        id=1,
        name="Dr. Ada Wong",
        user_id=2,
        clinic_id=1,
        specialty="Cardiology",
        license_number="LIC123456",
        qualifications="MD, Board Certified",
        experience_years=5,
        max_patients_per_day=10,
        is_active=True,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
    )

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
