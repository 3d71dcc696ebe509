"""Offering slots and taking them back."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.announcements import service as announcements
from health_services.appointment_slots.repository import AppointmentSlotRepository
from health_services.appointment_slots.schemas import SlotCreate, SlotRead
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.database.constraints import OVERLAP
from health_services.errors import (
    AuthorizationException,
    ConflictException,
    FieldError,
    HealthServicesError,
    ResourceNotFoundException,
    ValidationException,
)
from health_services.freshness.versions import of_slot
from health_services.webhooks.models import Event

NO_SLOT = "There is no such slot."

# What a list of slots calls its n-th field; a single slot has just the field's name.
Naming = Callable[[int, str], str]


def _in_list(place: int, field: str) -> str:
    return f"items[{place}].{field}"


def _alone(_: int, field: str) -> str:
    return field


async def create(
    session: AsyncSession, caller: Caller, request: SlotCreate | list[SlotCreate], now: datetime
) -> AnyRow | Sequence[AnyRow]:
    """Offer one slot, or up to 500 of which all or none are made; answers in the same order.

    Raises ResourceNotFoundException, AuthorizationException, ValidationException, ConflictException; the error names
    the field, and in a list the place.
    """
    if isinstance(request, list):
        return await _create(session, caller, request, now, _in_list)
    return (await _create(session, caller, [request], now, _alone))[0]


async def _create(
    session: AsyncSession, caller: Caller, slots: list[SlotCreate], now: datetime, name: Naming
) -> Sequence[AnyRow]:
    repository = AppointmentSlotRepository(session)
    doctor_ids = {slot.doctor_id for slot in slots}
    await repository.wait_for_turn(doctor_ids)
    doctors = await repository.doctors(doctor_ids)
    clinics = await repository.existing_clinics({slot.clinic_id for slot in slots})
    _refuse(_unknown(slots, doctors, clinics, name), ResourceNotFoundException)
    _refuse(_forbidden(slots, caller, name), AuthorizationException)
    _refuse(_misplaced(slots, doctors, now, name), ValidationException)
    _refuse(_inactive(slots, doctors, name), ConflictException)
    rows = [slot.model_dump() for slot in slots]
    overlapping = sorted({*_overlapping_each_other(slots), *await repository.overlapping(rows)})
    _refuse([FieldError(name(place, "slot_datetime"), OVERLAP) for place in overlapping], ConflictException)
    made = await repository.add(rows)
    touch(session, *(name for slot in made for name in of_slot(slot.id, slot.doctor_id, slot.clinic_id)))
    await _announce(session, Event.SLOT_CREATED, made, now)
    return made


async def _announce(session: AsyncSession, event: Event, slots: Sequence[AnyRow], now: datetime) -> None:
    shown = [SlotRead.model_validate(slot).model_dump(mode="json") for slot in slots]
    await announcements.of_slots(session, event, shown, now)


def _refuse(errors: list[FieldError], kind: type[HealthServicesError]) -> None:
    if errors:
        raise kind(f"{errors[0].field}: {errors[0].message}", errors=errors)


def _unknown(slots: list[SlotCreate], doctors: dict[int, AnyRow], clinics: set[int], name: Naming) -> list[FieldError]:
    errors = []
    for place, slot in enumerate(slots):
        if slot.doctor_id not in doctors:
            errors.append(FieldError(name(place, "doctor_id"), "There is no such doctor."))
        if slot.clinic_id not in clinics:
            errors.append(FieldError(name(place, "clinic_id"), "There is no such clinic."))
    return errors


def _forbidden(slots: list[SlotCreate], caller: Caller, name: Naming) -> list[FieldError]:
    return [
        FieldError(name(place, "doctor_id"), "You cannot offer slots of this doctor at this clinic.")
        for place, slot in enumerate(slots)
        if not (caller.is_doctor(slot.doctor_id) or caller.runs(slot.clinic_id))
    ]


def _misplaced(slots: list[SlotCreate], doctors: dict[int, AnyRow], now: datetime, name: Naming) -> list[FieldError]:
    errors = []
    for place, slot in enumerate(slots):
        if doctors[slot.doctor_id].clinic_id != slot.clinic_id:
            errors.append(FieldError(name(place, "clinic_id"), "must be the doctor's own clinic"))
        if slot.slot_datetime <= now:
            errors.append(FieldError(name(place, "slot_datetime"), "must lie in the future"))
    return errors


def _inactive(slots: list[SlotCreate], doctors: dict[int, AnyRow], name: Naming) -> list[FieldError]:
    return [
        FieldError(name(place, "doctor_id"), "The doctor or the clinic is not active.")
        for place, slot in enumerate(slots)
        if not (doctors[slot.doctor_id].is_active and doctors[slot.doctor_id].clinic_is_active)
    ]


def _overlapping_each_other(slots: list[SlotCreate]) -> list[int]:
    """The places of slots that begin before the doctor's slot before them has ended; touching is allowed."""
    overlapping = []
    ends: dict[int, datetime] = {}
    for place in sorted(range(len(slots)), key=lambda place: slots[place].slot_datetime):
        slot = slots[place]
        end = slot.slot_datetime + timedelta(minutes=slot.duration_minutes)
        busy_until = ends.get(slot.doctor_id, slot.slot_datetime)
        if slot.slot_datetime < busy_until:
            overlapping.append(place)
        ends[slot.doctor_id] = max(end, busy_until)
    return overlapping


async def read(session: AsyncSession, slot_id: int) -> AnyRow:
    """One slot, active or not; raises ResourceNotFoundException."""
    slot = await AppointmentSlotRepository(session).get(slot_id)
    if slot is None:
        raise ResourceNotFoundException(NO_SLOT)
    return slot


async def delete(session: AsyncSession, caller: Caller, slot_id: int, now: datetime) -> None:
    """Take a slot back; the database refuses it while somebody has a live appointment on it.

    Raises ResourceNotFoundException (also for one that was taken back before), AuthorizationException.
    """
    slot = await AppointmentSlotRepository(session).get_for_update(slot_id)
    if slot is None:
        raise ResourceNotFoundException(NO_SLOT)
    if not caller.runs(slot.clinic_id):
        raise AuthorizationException
    if not slot.is_active:
        raise ResourceNotFoundException(NO_SLOT)
    slot.is_active = False
    touch(session, *of_slot(slot.id, slot.doctor_id, slot.clinic_id))
    await session.flush()
    gone = await read(session, slot_id)
    await _announce(session, Event.SLOT_DELETED, [gone], now)
