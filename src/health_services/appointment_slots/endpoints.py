"""/slots."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from fastapi.openapi.models import Example

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Kept, Listing, Now, Session, listed_by
from health_services.api.fields import IdInUrl, Instant
from health_services.api.openapi import errors
from health_services.appointment_slots import service
from health_services.appointment_slots.repository import AppointmentSlotRepository, Filter
from health_services.appointment_slots.schemas import Message, SlotRead, SlotsCreate
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.freshness.versions import ALL_SLOTS, DIRECTORY, one_slot, slots_at_clinic, slots_of_doctor

_ONE = {"doctor_id": 1, "clinic_id": 1, "slot_datetime": "2030-03-01T10:00:00Z", "duration_minutes": 30, "capacity": 1}
_EXAMPLES: dict[str, Example] = {
    "one slot": {"value": _ONE},
    "several slots": {"value": [_ONE, _ONE | {"slot_datetime": "2030-03-01T10:30:00Z", "capacity": 4}]},
}

router = APIRouter(prefix="/slots", tags=["Appointment slots"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=201,
    summary="Create one slot, or up to 500",
    response_model=SlotRead | list[SlotRead],
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("slots:write")
async def create_slots(
    session: Session, caller: CurrentCaller, body: Annotated[SlotsCreate, Body(openapi_examples=_EXAMPLES)], now: Now
) -> Any:
    """The doctor concerned, staff of the clinic, administrators.

    Of a list, all slots are made or none; an error names the place, as in `items[3].slot_datetime`. Slots of one
    doctor may touch but not overlap.
    """
    return await service.create(session, caller, body, now)


@router.get("", summary="List slots that can be booked", response_model=list[SlotRead], responses=errors())
@requires("slots:read")
async def list_slots(
    session: Session,
    kept: Kept,
    listing: Annotated[Listing, listed_by("slot_datetime", "id")],
    now: Now,
    doctor_id: Annotated[IdInUrl | None, Query()] = None,
    clinic_id: Annotated[IdInUrl | None, Query()] = None,
    date_from: Annotated[Instant | None, Query(description="earliest start, included")] = None,
    date_to: Annotated[Instant | None, Query(description="latest start, included")] = None,
) -> Any:
    """What can be booked now, by start: active, to come, with a place left; public."""
    wanted = Filter(doctor_id, clinic_id, date_from, date_to)
    if not listing.page.skip:  # whose place in the list is not moved by slots before it that begin
        kept.rests_on(DIRECTORY, _rest_of(wanted))
    slots = await AppointmentSlotRepository(session).bookable(wanted, now, listing.page)
    if slots:
        kept.holds_until(SlotRead.model_validate_json(slots[0]).slot_datetime)
    return listing.of_json(slots, SlotRead)


def _rest_of(wanted: Filter) -> str:
    if wanted.doctor_id is not None:
        return slots_of_doctor(wanted.doctor_id)
    return ALL_SLOTS if wanted.clinic_id is None else slots_at_clinic(wanted.clinic_id)


@router.get("/{slot_id}", summary="Get a slot", response_model=SlotRead, responses=errors(ResourceNotFoundException))
@requires("slots:read")
async def get_slot(session: Session, kept: Kept, slot_id: IdInUrl) -> Any:
    """One slot, also one that is full, past or taken back; public."""
    kept.rests_on(one_slot(slot_id))
    return await service.read(session, slot_id)


@router.delete(
    "/{slot_id}",
    summary="Delete a slot",
    response_model=Message,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("slots:delete")
async def delete_slot(session: Session, caller: CurrentCaller, slot_id: IdInUrl, now: Now) -> Any:
    """Administrators and staff of the clinic; refused while the slot has live appointments."""
    await service.delete(session, caller, slot_id, now)
    return Message(message="Slot deleted successfully")
