"""Entries for tests; only what a test names is fixed."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from health_services.calendars.ics import Entry

START = datetime(2031, 3, 3, 15, 0, tzinfo=UTC)


def entry(start: datetime = START, **values: Any) -> Entry:
    """Half an hour from `start` on, in UTC unless a zone is named."""
    whole: dict[str, Any] = {
        "uid": f"{start:%Y%m%dT%H%M%S}@tests",
        "sequence": 0,
        "status": "confirmed",
        "starts_at": start,
        "ends_at": start + timedelta(minutes=30),
        "time_zone": "UTC",
        "summary": "Appointment: Grace Okafor",
        "location": None,
        "description": None,
        "changed_at": datetime(2031, 1, 1, tzinfo=UTC),
    }
    return Entry(**whole | values)


def row(**values: Any) -> Any:
    """Stands for a row of appointment_details, whose clinical and personal columns must not be looked at."""
    whole: dict[str, Any] = {
        "appointment_id": 7,
        "calendar_uid": "appointment-7@tests",
        "revision": 0,
        "status": "confirmed",
        "is_active": True,
        "starts_at": START,
        "ends_at": START + timedelta(minutes=30),
        "time_zone": "America/New_York",
        "doctor_name": "Grace Okafor",
        "clinic_name": "City Health Center",
        "clinic_address": "123 Main St",
        "clinic_zip_code": "10001",
        "clinic_city": "New York",
        "clinic_phone": "9876543210",
        "updated_at": datetime(2031, 1, 1, tzinfo=UTC),
    }
    return SimpleNamespace(**whole | values)
