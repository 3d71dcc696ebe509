"""Why a slot cannot be booked: each reason has its answer, and the first one counts."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from tests.api.answers import digest, refusal
from tests.factories import World, booking, soon

REASONS = {
    "slot": ("UPDATE appointment_slots SET is_active = false", "This slot is not offered any more."),
    "doctor": ("UPDATE doctors SET is_active = false", "This doctor is not active."),
    "clinic": ("UPDATE clinics SET is_active = false", "This clinic is not active."),
    "started": (
        "UPDATE appointment_slots SET slot_datetime = now() - interval '1 second'",
        "This slot has started already.",
    ),
}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("by", ["patient", "doctor", "admin"])
async def test_not_offered(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, reason: str, by: str):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    body = booking(patient, doctor, await world.slot(doctor))
    statement, detail = REASONS[reason]
    await owner.execute(statement)
    before = await digest(owner)
    headers = {"patient": patient, "doctor": doctor, "admin": admin}[by].headers
    refused = refusal(await api.post("/appointments/book", json=body, headers=headers), "SLOT_UNAVAILABLE")
    assert refused["detail"] == detail
    assert await digest(owner) == before


async def test_full(api: httpx.AsyncClient, world: World):
    doctor, first, second = await world.doctor(), await world.patient(), await world.patient()
    slot = await world.slot(doctor)
    await world.appointment(first, doctor, slot)
    answer = await api.post("/appointments/book", json=booking(second, doctor, slot), headers=second.headers)
    assert refusal(answer, "SLOT_UNAVAILABLE")["detail"] == "This slot is fully booked."


@pytest.mark.parametrize("status", ["completed", "no_show"])
async def test_a_visit_that_was_keeps_its_place(api: httpx.AsyncClient, world: World, status: str):
    doctor, first, second = await world.doctor(), await world.patient(), await world.patient()
    slot = await world.slot(doctor)
    await world.appointment(first, doctor, slot, status=status)
    for patient in (first, second):
        answer = await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
        assert refusal(answer, "SLOT_UNAVAILABLE")["detail"] == "This slot is fully booked."


async def test_the_doctors_day_is_full(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, admin = await world.doctor(max_patients_per_day=2), await world.admin()
    day = soon().replace(hour=8) + timedelta(days=1)
    slots = [await world.slot(doctor, day + timedelta(hours=n), capacity=5) for n in range(3)]
    tomorrow = await world.slot(doctor, day + timedelta(days=1))

    async def book(slot: int) -> httpx.Response:
        body = booking(await world.patient(), doctor, slot)
        return await api.post("/appointments/book", json=body, headers=admin.headers)

    first = await book(slots[0])
    assert (first.status_code, (await book(slots[1])).status_code) == (201, 201)
    for slot in slots:
        assert (
            refusal(await book(slot), "SLOT_UNAVAILABLE")["detail"] == "The doctor sees no more patients on that day."
        )
    assert (await book(tomorrow)).status_code == 201
    await api.post(f"/appointments/{first.json()['id']}/cancel", headers=admin.headers)
    assert (await book(slots[2])).status_code == 201
    refusal(await book(slots[2]), "SLOT_UNAVAILABLE")
    raised = {"max_patients_per_day": 3}
    assert (await api.put(f"/doctors/{doctor.doctor_id}", json=raised, headers=admin.headers)).status_code == 200
    assert (await book(slots[2])).status_code == 201


@pytest.mark.parametrize("status", ["pending", "confirmed"])
@pytest.mark.parametrize("capacity", [1, 2])
async def test_a_patient_holds_one_live_place_in_a_slot(
    api: httpx.AsyncClient, world: World, status: str, capacity: int
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=capacity)
    held = await world.appointment(patient, doctor, slot, status=status)
    body = booking(patient, doctor, slot)
    for person in (patient, doctor, await world.admin()):
        refusal(await api.post("/appointments/book", json=body, headers=person.headers), "DUPLICATE_BOOKING")
    assert (await api.post(f"/appointments/{held}/cancel", headers=patient.headers)).status_code == 200
    assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201


async def test_a_patient_books_several_slots(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    for _ in range(2):
        body = booking(patient, doctor, await world.slot(doctor))
        assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201


async def test_an_inactive_patient_cannot_be_booked(api: httpx.AsyncClient, world: World):
    doctor, admin, patient = await world.doctor(), await world.admin(), await world.patient()
    path, body = f"/patients/{patient.patient_id}", booking(patient, doctor, await world.slot(doctor))
    assert (await api.put(path, json={"is_active": False}, headers=admin.headers)).json()["is_active"] is False
    for person in (patient, doctor, admin):
        refusal(await api.post("/appointments/book", json=body, headers=person.headers), "CONFLICT")
    await api.put(path, json={"is_active": True}, headers=admin.headers)
    assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201


async def test_the_first_reason_counts(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, other, admin = await world.doctor(), await world.doctor(), await world.admin()
    patient = await world.patient()
    slot = await world.slot(doctor, datetime.now(UTC) - timedelta(minutes=1))
    good = booking(patient, doctor, slot)
    for statement, _ in REASONS.values():
        await owner.execute(statement)
    for change, code, *fields in (
        ({"slot_id": 999, "patient_id": 999}, "RESOURCE_NOT_FOUND"),
        ({"patient_id": 999, "doctor_id": other.doctor_id}, "RESOURCE_NOT_FOUND"),
        ({"doctor_id": other.doctor_id}, "VALIDATION_ERROR", "doctor_id"),
        ({"clinic_id": other.clinic_id}, "VALIDATION_ERROR", "clinic_id"),
        ({}, "SLOT_UNAVAILABLE"),
    ):
        refusal(await api.post("/appointments/book", json=good | change, headers=admin.headers), code, *fields)
    stranger = await world.patient()
    for change, code in (
        ({"slot_id": 999}, "RESOURCE_NOT_FOUND"),
        ({"patient_id": 999}, "RESOURCE_NOT_FOUND"),
        ({"doctor_id": other.doctor_id}, "AUTHORIZATION_ERROR"),
        ({}, "AUTHORIZATION_ERROR"),
    ):
        refusal(await api.post("/appointments/book", json=good | change, headers=stranger.headers), code)
    await owner.execute("UPDATE patients SET is_active = false")
    refusal(await api.post("/appointments/book", json=good, headers=admin.headers), "CONFLICT")
