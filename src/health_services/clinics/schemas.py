"""Clinics: what is sent and answered."""

from datetime import datetime
from functools import cache
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from health_services.api.fields import (
    AnswerShape,
    Blank,
    Email,
    Id,
    Line32,
    Line64,
    Line100,
    Line200,
    Line500,
    RequestShape,
    Truth,
    example,
    unless_sent,
)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be an IANA time zone such as Europe/London")
    return name


TimeZone = Annotated[Line64, AfterValidator(_zone), Field(description="IANA name; its days are the clinic's days")]


class _Contact(RequestShape):
    address: Annotated[Line500 | None, Blank] = None
    phone: Annotated[Line32 | None, Blank] = None
    email: Annotated[Email | None, Blank] = None
    city: Annotated[Line100 | None, Blank] = None
    state: Annotated[Line100 | None, Blank] = None
    zip_code: Annotated[Line32 | None, Blank] = None


class ClinicCreate(_Contact):
    """A new clinic."""

    model_config = example(
        name="City Health Center",
        address="123 Main St",
        phone="9876543210",
        email="info@cityhealthcenter.com",
        city="New York",
        state="NY",
        zip_code="10001",
        time_zone="America/New_York",
    )

    name: Line200
    time_zone: TimeZone = "UTC"


class ClinicUpdate(_Contact):
    """What of a clinic changes; what is left out stays."""

    model_config = example(
        phone="9876543211",
    )

    name: Line200 = unless_sent()
    time_zone: TimeZone = unless_sent()
    is_active: Truth = unless_sent()


class ClinicRead(AnswerShape):
    """A clinic of the directory."""

    model_config = example(
        id=1,
        name="City Health Center",
        address="123 Main St",
        phone="9876543210",
        email="info@cityhealthcenter.com",
        city="New York",
        state="NY",
        zip_code="10001",
        time_zone="America/New_York",
        is_active=True,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
    )

    id: int
    name: str
    address: str | None
    phone: str | None
    email: str | None
    city: str | None
    state: str | None
    zip_code: str | None
    time_zone: str
    is_active: bool
    created_at: datetime
    updated_at: datetime


class ClinicStaffCreate(RequestShape):
    """Who joins the clinic's desk; the account has the role staff."""

    model_config = example(
        user_id=3,
    )

    user_id: Id


class ClinicStaffRead(AnswerShape):
    """Somebody who works at the clinic's desk."""

    model_config = example(
        user_id=3,
        name="Grace Okafor",
        created_at="2026-03-01T10:00:00Z",
    )

    user_id: int
    name: str
    created_at: datetime
