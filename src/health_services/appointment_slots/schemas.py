"""Slots: what is sent and answered."""

from datetime import datetime
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from health_services.api.fields import AnswerShape, Id, Instant, RequestShape

MAX_SLOTS_AT_ONCE = 500

Minutes = Annotated[int, Field(strict=True, ge=5, le=480, description="minutes")]
Capacity = Annotated[int, Field(strict=True, ge=1, le=1000, description="patients who can book it")]


class SlotCreate(RequestShape):
    """A period that a doctor offers."""

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

    message: str
