"""What the endpoints of appointments refuse by form."""

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import (
    Wrong,
    all_refused,
    bad_ids,
    bad_instants,
    bad_pages,
    bodies,
    each,
    ids,
    texts,
    urls_refused,
)
from tests.factories import World, booking


async def test_book(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, other, patient, admin = (
        await world.doctor(),
        await world.doctor(),
        await world.patient(),
        await world.admin(),
    )
    good = booking(patient, doctor, await world.slot(doctor))
    cases = [*bodies(*good), *(case for field in good for case in ids(field))]
    cases += texts("reason_for_visit", 1000, lines=True)
    cases += [
        Wrong({"slot_id": 999}, code="RESOURCE_NOT_FOUND"),
        Wrong({"patient_id": 999}, code="RESOURCE_NOT_FOUND"),
        Wrong({"doctor_id": other.doctor_id}, ("doctor_id",)),
        Wrong({"doctor_id": 999}, ("doctor_id",)),
        Wrong({"clinic_id": other.clinic_id}, ("clinic_id",)),
        Wrong({"clinic_id": 999}, ("clinic_id",)),
        Wrong({"status": "confirmed"}, ("status",)),
    ]
    await all_refused(api, owner, ("POST", "/appointments/book"), admin.headers, good, cases)
    refusal(await api.post("/appointments/book", headers=admin.headers), "VALIDATION_ERROR", "body")
    assert (await api.post("/appointments/book", json=good, headers=admin.headers)).status_code == 201


async def test_cancel(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/appointments/{await world.appointment(patient, doctor)}/cancel"
    cases = [*bodies(), *texts("cancelled_reason", 1000, lines=True), Wrong({"status": "pending"}, ("status",))]
    await all_refused(api, owner, ("POST", path), patient.headers, {}, cases)
    assert (await api.post(path, json={}, headers=patient.headers)).status_code == 200


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/appointments/{await world.appointment(patient, doctor)}"
    cases = [*bodies(), *texts("notes", 10_000, lines=True), *each("is_active", None, "false", 0)]
    cases += [Wrong({"status": "completed"}, ("status",)), Wrong({"slot_id": 1}, ("slot_id",))]
    await all_refused(api, owner, ("PUT", path), doctor.headers, {}, cases)
    refusal(await api.put(path, headers=doctor.headers), "VALIDATION_ERROR", "body")
    assert (await api.put(path, json={"notes": "Fine."}, headers=doctor.headers)).status_code == 200


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.admin()).headers
    cases = bad_pages("/appointments") | bad_ids("/appointments/{}", "appointment_id")
    cases |= bad_instants("/appointments", "date_from", "date_to")
    for name in ("doctor_id", "clinic_id", "patient_id"):
        cases |= bad_ids(f"/appointments?{name}={{}}", name)
    cases |= {f"/appointments?status={status}": "status" for status in ("", "live", "PENDING", "1", "%00")}
    await urls_refused(api, owner, headers, cases, "GET")
    await urls_refused(api, owner, headers, bad_ids("/appointments/{}/cancel", "appointment_id"), "POST")
    await urls_refused(api, owner, headers, bad_ids("/appointments/{}", "appointment_id"), "PUT")


async def test_addresses_of_a_doctors_list(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor = await world.doctor()
    path = f"/doctors/{doctor.doctor_id}/appointments"
    cases = bad_pages(path) | bad_ids("/doctors/{}/appointments", "doctor_id")
    cases |= bad_instants(path, "date_from", "date_to") | bad_ids(path + "?patient_id={}", "patient_id")
    cases |= {f"{path}?doctor_id=1": "doctor_id", f"{path}?status=live": "status"}
    await urls_refused(api, owner, doctor.headers, cases, "GET")
