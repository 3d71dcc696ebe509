"""Patients: what is sent and answered."""

from datetime import date, datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from health_services.api.fields import (
    AnswerShape,
    Blank,
    Day,
    Email,
    Line32,
    Line200,
    Line500,
    RequestShape,
    Text2000,
    Truth,
    example,
    unless_sent,
)
from health_services.patients.models import BloodGroup, Sex

Language = Annotated[
    str,
    StringConstraints(
        strict=True, strip_whitespace=True, max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"
    ),
    Field(description="BCP 47, such as en or pt-BR"),
]


class _Record(RequestShape):
    date_of_birth: Day | None = None
    blood_group: BloodGroup | None = None
    allergies: Annotated[Text2000 | None, Blank] = None
    emergency_contact: Annotated[Line200 | None, Blank] = None
    sex: Sex | None = None
    preferred_language: Annotated[Language | None, Blank] = None


class PatientUpdate(_Record):
    """What of a patient's record changes; what is left out stays, null clears."""

    model_config = example(
        date_of_birth="1990-01-15",
        blood_group="O+",
        allergies="Penicillin",
        emergency_contact="9876543210",
    )

    is_active: Truth = unless_sent()


class PatientCreate(_Record):
    """A person without a login; without `name`, a doctor's or administrator's own patient record."""

    model_config = example(
        name="Maria Silva",
        mobile_no="5550100",
        date_of_birth="1990-01-15",
        blood_group="O+",
        allergies="Penicillin",
        emergency_contact="9876543210",
        preferred_language="pt-BR",
    )

    name: Line200 | None = None
    email: Annotated[Email | None, Blank] = None
    mobile_no: Annotated[Line32 | None, Blank] = None
    address: Annotated[Line500 | None, Blank] = None


class PatientSearch(RequestShape):
    """Part of a name, an e-mail address or a mobile number."""

    model_config = example(
        query="silva",
    )

    query: Annotated[Line200, Field(min_length=2)]


class PatientRead(AnswerShape):
    """A patient's record; clinical text is null for a clinic's staff."""

    model_config = example(
        id=1,
        user_id=1,
        name="John Doe",
        email="john@example.com",
        mobile_no="9876543210",
        address="123 Main St",
        date_of_birth="1990-01-15",
        blood_group="O+",
        allergies="Penicillin",
        emergency_contact="9876543210",
        sex="male",
        preferred_language="en",
        is_active=True,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
    )

    id: int
    user_id: int
    name: str
    email: str | None
    mobile_no: str | None
    address: str | None
    date_of_birth: date | None
    blood_group: BloodGroup | None
    allergies: str | None
    emergency_contact: str | None
    sex: Sex | None
    preferred_language: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


class PatientFound(AnswerShape):
    """As much of a patient as tells two persons apart."""

    model_config = example(
        id=1,
        name="John Doe",
        date_of_birth="1990-01-15",
        is_active=True,
    )

    id: int
    name: str
    date_of_birth: date | None
    is_active: bool
