"""Booking and cancelling, as a caller sees it."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from tests.api.answers import instant, refusal, shape
from tests.factories import World, booking

KEYS = {
    "id", "patient_id", "doctor_id", "clinic_id", "slot_id", "slot_datetime", "duration_minutes", "status",
    "reason_for_visit", "notes", "cancelled_at", "cancelled_reason", "is_active", "revision", "created_at",
    "updated_at",
}  # fmt: skip
PAST = timedelta(days=-2)


async def test_a_patient_books_and_cancels(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)

    booked = await api.post(
        "/appointments/book", json=booking(patient, doctor, slot, reason_for_visit="Checkup"), headers=patient.headers
    )
    assert booked.status_code == 201, booked.text
    assert booked.json()["status"] == "pending"
    assert (await api.get(f"/slots/{slot}")).json()["is_booked"] is True

    again = await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
    assert (again.status_code, again.json()["error_code"]) == (409, "DUPLICATE_BOOKING")

    cancelled = await api.post(f"/appointments/{booked.json()['id']}/cancel", headers=patient.headers)
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json()["status"] == "cancelled"
    assert (await api.get(f"/slots/{slot}")).json()["available_slots"] == 1


async def test_the_guides_booking(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=3, duration_minutes=45)
    sent = booking(
        patient, doctor, slot, reason_for_visit="  Regular checkup\nand \U0001f44b \u05e9\u05dc\u05d5\u05dd "
    )
    booked = await api.post("/appointments/book", json=sent, headers=patient.headers)
    assert booked.status_code == 201, booked.text
    body = shape(booked.json(), KEYS)
    assert body | sent | {"reason_for_visit": sent["reason_for_visit"].strip()} == body
    assert (body["status"], body["duration_minutes"], body["is_active"]) == ("pending", 45, True)
    assert {body[name] for name in ("notes", "cancelled_at", "cancelled_reason")} == {None}
    seen = (await api.get(f"/slots/{slot}")).json()
    assert (seen["booked_count"], seen["available_slots"], seen["is_booked"]) == (1, 2, False)
    assert seen["slot_datetime"] == body["slot_datetime"]
    assert (await api.get(f"/appointments/{body['id']}", headers=patient.headers)).json() == body


@pytest.mark.parametrize("reason", [None, "", "   ", "r" * 1000, "\U0001f600" * 1000])
async def test_the_reason_is_optional(api: httpx.AsyncClient, world: World, reason: str | None):
    doctor, patient = await world.doctor(), await world.patient()
    sent = booking(patient, doctor, await world.slot(doctor), reason_for_visit=reason)
    booked = await api.post("/appointments/book", json=sent, headers=patient.headers)
    assert booked.status_code == 201, booked.text
    assert booked.json()["reason_for_visit"] == ((reason or "").strip() or None)


async def test_all_places_of_a_slot_can_be_booked(api: httpx.AsyncClient, world: World):
    doctor, admin = await world.doctor(), await world.admin()
    slot = await world.slot(doctor, capacity=3)
    for count in (1, 2, 3):
        sent = booking(await world.patient(), doctor, slot)
        assert (await api.post("/appointments/book", json=sent, headers=admin.headers)).status_code == 201
        seen = (await api.get(f"/slots/{slot}")).json()
        assert (seen["booked_count"], seen["is_booked"]) == (count, count == 3)
    sent = booking(await world.patient(), doctor, slot)
    refused = refusal(await api.post("/appointments/book", json=sent, headers=admin.headers), "SLOT_UNAVAILABLE")
    assert refused["detail"] == "This slot is fully booked."


async def test_cancelling(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    path = f"/appointments/{await world.appointment(patient, doctor, slot)}"
    before = datetime.now(UTC)
    reason = "Unable to attend due to emergency"
    answer = await api.post(f"{path}/cancel", json={"cancelled_reason": f" {reason}\n"}, headers=patient.headers)
    assert answer.status_code == 200, answer.text
    body = shape(answer.json(), KEYS)
    assert (body["status"], body["cancelled_reason"]) == ("cancelled", reason)
    assert before <= instant(body["cancelled_at"]) <= datetime.now(UTC)
    assert instant(body["updated_at"]) > instant(body["created_at"])
    assert (await api.get(path, headers=patient.headers)).json() == body
    seen = (await api.get(f"/slots/{slot}")).json()
    assert (seen["booked_count"], seen["is_booked"]) == (0, False)
    for person in (patient, doctor, await world.admin()):
        refusal(await api.post(f"{path}/cancel", headers=person.headers), "CONFLICT")
    again = await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
    assert again.status_code == 201
    assert again.json()["id"] != body["id"]


@pytest.mark.parametrize(
    "sent",
    [{}, {"json": {}}, {"json": None}, {"json": {"cancelled_reason": None}}, {"json": {"cancelled_reason": " "}}],
)
async def test_the_reason_to_cancel_is_optional(api: httpx.AsyncClient, world: World, sent: dict[str, object]):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/appointments/{await world.appointment(patient, doctor)}/cancel"
    answer = await api.post(path, headers=patient.headers, **sent)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert (answer.json()["status"], answer.json()["cancelled_reason"]) == ("cancelled", None)


@pytest.mark.parametrize("status", ["cancelled", "completed", "no_show"])
async def test_only_a_live_appointment_can_be_cancelled(api: httpx.AsyncClient, world: World, status: str):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    path = f"/appointments/{await world.appointment(patient, doctor, slot, status=status)}"
    for person in (patient, doctor, await world.staff(doctor.clinic_id), await world.admin()):
        refused = refusal(await api.post(f"{path}/cancel", headers=person.headers), "CONFLICT")
        assert status.replace("_", "-") in refused["detail"]
        assert (await api.get(path, headers=person.headers)).json()["status"] == status
    assert (await api.get(f"/slots/{slot}")).json()["booked_count"] == (status != "cancelled")


@pytest.mark.parametrize("status", ["pending", "confirmed"])
async def test_once_the_slot_has_started_only_the_clinic_cancels(api: httpx.AsyncClient, world: World, status: str):
    doctor, patient = await world.doctor(), await world.patient()
    started = datetime.now(UTC) - timedelta(minutes=1)
    path = f"/appointments/{await world.appointment(patient, doctor, await world.slot(doctor, started), status=status)}"
    refusal(await api.post(f"{path}/cancel", headers=patient.headers), "CONFLICT")
    assert (await api.get(path, headers=patient.headers)).json()["status"] == status
    assert (await api.post(f"{path}/cancel", headers=doctor.headers)).json()["status"] == "cancelled"


async def test_a_confirmed_appointment_can_be_cancelled(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/appointments/{await world.appointment(patient, doctor, status='confirmed')}/cancel"
    assert (await api.post(path, headers=patient.headers)).json()["status"] == "cancelled"


async def test_unknown_appointments(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    refusal(await api.get("/appointments/999", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.post("/appointments/999/cancel", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.put("/appointments/999", json={}, headers=admin.headers), "RESOURCE_NOT_FOUND")


async def test_notes_are_the_doctors_until_the_visit_is_over(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    staff = await world.staff(doctor.clinic_id)
    path = f"/appointments/{await world.appointment(patient, doctor)}"
    notes = "Blood pressure 120/80.\n\U0001fa7a " + "n" * 9000
    written = await api.put(path, json={"notes": notes}, headers=doctor.headers)
    assert shape(written.json(), KEYS)["notes"] == notes

    async def seen_by() -> list[bool]:
        people = (doctor, patient, admin, staff)
        return [(await api.get(path, headers=person.headers)).json()["notes"] == notes for person in people]

    assert await seen_by() == [True, False, False, False]
    await owner.execute("UPDATE appointments SET status = 'completed'")
    assert await seen_by() == [True, True, False, False]
    refusal(await api.put(path, json={"notes": "x"}, headers=admin.headers), "AUTHORIZATION_ERROR")
    assert (await api.put(path, json={}, headers=doctor.headers)).json()["notes"] == notes
    assert (await api.put(path, json={"notes": None}, headers=doctor.headers)).json()["notes"] is None


async def test_entered_in_error_is_out_of_every_list(api: httpx.AsyncClient, world: World):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    staff = await world.staff(doctor.clinic_id)
    wrong, right = await world.appointment(patient, doctor), await world.appointment(patient, doctor)
    path = f"/appointments/{wrong}"
    refusal(await api.put(path, json={"is_active": False}, headers=doctor.headers), "AUTHORIZATION_ERROR")
    refusal(await api.put(path, json={"is_active": False}, headers=admin.headers), "CONFLICT")
    await api.post(f"{path}/cancel", headers=admin.headers)
    marked = await api.put(path, json={"is_active": False}, headers=admin.headers)
    assert marked.json()["is_active"] is False
    for address in (
        "/appointments",
        f"/doctors/{doctor.doctor_id}/appointments",
        f"/patients/{patient.patient_id}/appointments",
    ):
        for person in (admin, staff):
            listed = await api.get(address, headers=person.headers)
            assert [row["id"] for row in listed.json()] == [right], address
    back = await api.put(path, json={"is_active": True}, headers=admin.headers)
    assert back.json()["is_active"] is True
    assert len((await api.get("/appointments", headers=admin.headers)).json()) == 2
