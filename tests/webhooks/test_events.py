"""What other systems are told."""

import json
from datetime import UTC, datetime, timedelta, timezone

from health_services.appointments.models import AppointmentStatus
from health_services.appointments.schemas import AppointmentRead
from health_services.webhooks.events import WITHOUT, body_of
from health_services.webhooks.models import Event

AT = datetime(2026, 3, 1, 12, 0, 0, 500_000, timezone(timedelta(hours=2)))
SHOWN = AppointmentRead(
    id=12,
    patient_id=1,
    doctor_id=2,
    clinic_id=3,
    slot_id=4,
    slot_datetime=datetime(2030, 3, 1, 10, tzinfo=UTC),
    duration_minutes=30,
    status=AppointmentStatus.CANCELLED,
    reason_for_visit="a rash",
    notes="steroids",
    cancelled_at=datetime(2026, 3, 1, 10, 0, 0, 250_000, UTC),
    cancelled_reason="in hospital",
    is_active=True,
    revision=1,
    created_at=datetime(2026, 2, 1, 10, tzinfo=UTC),
    updated_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
)


def test_the_whole_text():
    assert body_of(Event.SLOT_DELETED, AT, {"id": 4, "clinic": "Zürich"}) == (
        '{"type":"slot.deleted","timestamp":"2026-03-01T10:00:00.500000Z","data":{"id":4,"clinic":"Zürich"}}'
    )


def test_the_appointment_is_as_the_api_shows_it_but_for_clinical_text():
    as_shown = json.loads(SHOWN.model_dump_json())
    assert {as_shown[name] for name in WITHOUT} == {"a rash", "steroids", "in hospital"}
    expected = as_shown | {"reason_for_visit": None, "notes": None, "cancelled_reason": None}
    for data in (SHOWN.model_dump(), SHOWN.model_dump(mode="json")):
        assert json.loads(body_of(Event.APPOINTMENT_CANCELLED, AT, data))["data"] == expected


def test_what_was_shown_stays_as_it_was():
    data = SHOWN.model_dump()
    body_of(Event.APPOINTMENT_CANCELLED, AT, data)
    assert data["reason_for_visit"] == "a rash"
