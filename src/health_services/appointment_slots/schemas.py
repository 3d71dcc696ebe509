"""Slots: what is sent and answered."""

from datetime import datetime
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from health_services.api.fields import AnswerShape, Id, Instant, RequestShape, example

MAX_SLOTS_AT_ONCE = 500

Minutes = Annotated[int, Field(strict=True, ge=5, le=480, description="minutes")]
Capacity = Annotated[int, Field(strict=True, ge=1, le=1000, description="patients who can book it")]


class SlotCreate(RequestShape):
    """A period that a doctor offers."""

    model_config = example(
        doctor_id=1,
        clinic_id=1,
        slot_datetime="2030-03-01T10:00:00Z",
        duration_minutes=30,
        capacity=1,
    )

    doctor_id: Id
    clinic_id: Id
    slot_datetime: Instant
    duration_minutes: Minutes = 30
    capacity: Capacity = 1


def _one_or_many(body: object) -> str:
    return "several slots" if isinstance(body, list) else "one slot"


SlotsCreate = Annotated[
    Annotated[SlotCreate, Tag("one slot")]
    | Annotated[list[SlotCreate], Field(min_length=1, max_length=MAX_SLOTS_AT_ONCE), Tag("several slots")],
    Discriminator(_one_or_many),
]


class SlotRead(AnswerShape):
    """A slot; `available_slots` is capacity less booked_count."""

    model_config = example(
        id=1,
        doctor_id=1,
        clinic_id=1,
        slot_datetime="2030-03-01T10:00:00Z",
        duration_minutes=30,
        capacity=1,
        booked_count=0,
        available_slots=1,
        is_booked=False,
        is_active=True,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
    )

    id: int
    doctor_id: int
    clinic_id: int
    slot_datetime: datetime
    duration_minutes: int
    capacity: int
    booked_count: int
    available_slots: int
    is_booked: bool
    is_active: bool
    created_at: datetime
    updated_at: datetime


class Message(AnswerShape):
    """A sentence that says what was done."""

    model_config = example(
        message="Slot deleted successfully",
    )

    message: str
