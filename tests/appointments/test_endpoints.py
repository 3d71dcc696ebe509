"""Booking and cancelling, as a caller sees it."""

import httpx

from tests.factories import World, booking


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
