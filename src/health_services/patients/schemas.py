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
    unless_sent,
)
from health_services.patients.models import BloodGroup, Sex

Language = Annotated[
    str,
    StringConstraints(strict=True, max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"),
    Field(description="BCP 47, such as en or pt-BR"),
]


class _Record(RequestShape):
    date_of_birth: Day | None = None
    blood_group: BloodGroup | None = None
    allergies: Annotated[Text2000 | None, Blank] = None
    emergency_contact: Annotated[Line200 | None, Blank] = None
    sex: Sex | None = None
    preferred_language: Language | None = None


class PatientUpdate(_Record):
    """What of a patient's record changes; what is left out stays, null clears."""

    is_active: Truth = unless_sent()


class PatientCreate(_Record):
    """A person without a login; without `name`, a doctor's or administrator's own patient record."""

    name: Line200 | None = None
    email: Annotated[Email | None, Blank] = None
    mobile_no: Annotated[Line32 | None, Blank] = None
    address: Annotated[Line500 | None, Blank] = None


class PatientSearch(RequestShape):
    """Part of a name, an e-mail address or a mobile number."""

    query: Annotated[Line200, Field(min_length=2)]


class PatientRead(AnswerShape):
    """A patient's record; clinical text is null for a clinic's staff."""

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

    id: int
    name: str
    date_of_birth: date | None
    is_active: bool
