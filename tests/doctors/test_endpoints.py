"""Doctors, as a caller sees them."""

from datetime import timedelta

import httpx
import pytest

from health_services.pagination import write_cursor
from tests.api.answers import instant, next_page, read_pages, refusal, shape
from tests.factories import World, soon

KEYS = {
    "id", "user_id", "clinic_id", "name", "specialty", "license_number", "qualifications", "experience_years",
    "max_patients_per_day", "is_active", "created_at", "updated_at",
}  # fmt: skip


async def good(world: World, **more: object) -> dict[str, object]:
    """The body of a new doctor."""
    user = await world.user("doctor", name="Ada Wong")
    clinic = await world.clinic()
    return {"user_id": user.user_id, "clinic_id": clinic, "specialty": "Cardiology", "license_number": "LIC9"} | more


async def test_the_guides_example(api: httpx.AsyncClient, world: World):
    guide = {"qualifications": "MD, Board Certified", "experience_years": 5, "max_patients_per_day": 10}
    sent = await good(world, license_number="LIC123456", **guide)
    made = await api.post("/doctors", json=sent, headers=(await world.admin()).headers)
    assert made.status_code == 201, made.text
    body = shape(made.json(), KEYS)
    assert body | sent == body
    assert (body["name"], body["is_active"]) == ("Ada Wong", True)
    for path in (f"/doctors/{body['id']}", "/doctors", f"/clinics/{sent['clinic_id']}/doctors"):
        answer = await api.get(path)
        assert answer.status_code == 200
        assert answer.json() in (body, [body])


async def test_defaults(api: httpx.AsyncClient, world: World):
    made = await api.post("/doctors", json=await good(world), headers=(await world.admin()).headers)
    body = made.json()
    assert (body["qualifications"], body["experience_years"], body["max_patients_per_day"]) == (None, 0, 20)


async def test_bounds_are_inside(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    for n, sent in enumerate(
        (
            {"specialty": "s" * 100, "qualifications": "\U0001f600" * 1000, "experience_years": 80},
            {"experience_years": 0, "max_patients_per_day": 1, "qualifications": "line 1\nline 2\t\u05d0"},
            {"specialty": "\u0637\u0628 \u0627\u0644\u0642\u0644\u0628", "max_patients_per_day": 1000},
        )
    ):
        license_number = f"{n}".zfill(64)
        body = await good(world, **sent, license_number=license_number)
        made = await api.post("/doctors", json=body, headers=admin.headers)
        assert made.status_code == 201, made.text
        assert made.json() | body == made.json()


async def test_who_can_become_a_doctor(api: httpx.AsyncClient, world: World):
    admin, doctor, patient = await world.admin(), await world.doctor(license_number="TAKEN"), await world.patient()
    for change, code, fields in (
        ({"user_id": 999}, "RESOURCE_NOT_FOUND", ()),
        ({"user_id": patient.user_id}, "VALIDATION_ERROR", ("user_id",)),
        ({"user_id": admin.user_id}, "VALIDATION_ERROR", ("user_id",)),
        ({"clinic_id": 999}, "RESOURCE_NOT_FOUND", ()),
        ({"license_number": "TAKEN"}, "CONFLICT", ()),
        ({"user_id": doctor.user_id}, "CONFLICT", ()),
    ):
        body = await good(world) | change
        refusal(await api.post("/doctors", json=body, headers=admin.headers), code, *fields)
    assert len((await api.get("/doctors")).json()) == 1


async def test_an_update_changes_only_what_is_sent(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    made = (await api.post("/doctors", json=await good(world, qualifications="MD"), headers=admin.headers)).json()
    path = f"/doctors/{made['id']}"
    assert (await api.put(path, json={}, headers=admin.headers)).json() == made
    changes = {"specialty": "Cardiology", "experience_years": 6, "max_patients_per_day": 15}
    changed = await api.put(path, json=changes, headers=admin.headers)
    assert changed.status_code == 200
    body = shape(changed.json(), KEYS)
    assert body == made | changes | {"updated_at": body["updated_at"]}
    assert instant(body["updated_at"]) > instant(made["updated_at"])
    cleared = await api.put(path, json={"qualifications": None}, headers=admin.headers)
    assert cleared.json()["qualifications"] is None
    for field in ("clinic_id", "specialty", "license_number", "experience_years", "max_patients_per_day", "is_active"):
        refusal(await api.put(path, json={field: None}, headers=admin.headers), "VALIDATION_ERROR", field)


async def test_conflicts_of_an_update(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    other, clinic = await world.doctor(license_number="TAKEN"), await world.clinic()
    path = f"/doctors/{doctor.doctor_id}"
    refusal(await api.put(path, json={"license_number": "TAKEN"}, headers=admin.headers), "CONFLICT")
    refusal(await api.put(path, json={"clinic_id": 999}, headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.put("/doctors/999", json={}, headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.get("/doctors/999"), "RESOURCE_NOT_FOUND")
    moved = await api.put(path, json={"clinic_id": clinic}, headers=admin.headers)
    assert moved.json()["clinic_id"] == clinic
    same = await api.put(f"/doctors/{other.doctor_id}", json={"license_number": "TAKEN"}, headers=admin.headers)
    assert same.status_code == 200


async def test_the_limit_cannot_fall_below_what_a_day_to_come_holds(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor(max_patients_per_day=5)
    day = soon().replace(hour=8) + timedelta(days=2)
    slot = await world.slot(doctor, day, capacity=5)
    appointments = [await world.appointment(await world.patient(), doctor, slot) for _ in range(3)]
    path = f"/doctors/{doctor.doctor_id}"
    refusal(await api.put(path, json={"max_patients_per_day": 2}, headers=admin.headers), "CONFLICT")
    assert (await api.get(path)).json()["max_patients_per_day"] == 5
    assert (await api.put(path, json={"max_patients_per_day": 3}, headers=admin.headers)).status_code == 200
    await api.post(f"/appointments/{appointments[0]}/cancel", headers=admin.headers)
    assert (await api.put(path, json={"max_patients_per_day": 2}, headers=admin.headers)).status_code == 200


async def test_a_past_day_does_not_bind_the_limit(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    slot = await world.slot(doctor, soon() - timedelta(days=9), capacity=5)
    for _ in range(3):
        await world.appointment(await world.patient(), doctor, slot)
    answer = await api.put(f"/doctors/{doctor.doctor_id}", json={"max_patients_per_day": 1}, headers=admin.headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("asked", ["cardiology", "CARDIOLOGY", " Cardiology "])
async def test_filters(api: httpx.AsyncClient, world: World, asked: str):
    first, clinic = await world.doctor(), await world.clinic()
    second = await world.doctor(clinic)
    await world.doctor(clinic, specialty="Cardiology II")
    found = await api.get("/doctors", params={"specialty": asked})
    assert [d["id"] for d in found.json()] == [first.doctor_id, second.doctor_id]
    both = await api.get("/doctors", params={"specialty": asked, "clinic_id": clinic})
    assert [d["id"] for d in both.json()] == [second.doctor_id]
    assert (await api.get("/doctors?clinic_id=999")).json() == []


async def test_an_inactive_doctor_is_not_listed_but_answers_by_id(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    path = f"/doctors/{doctor.doctor_id}"
    assert (await api.put(path, json={"is_active": False}, headers=admin.headers)).json()["is_active"] is False
    assert (await api.get("/doctors")).json() == []
    assert (await api.get(f"/clinics/{doctor.clinic_id}/doctors")).json() == []
    assert (await api.get(path)).json()["is_active"] is False


async def test_pages_by_id(api: httpx.AsyncClient, world: World):
    clinic = await world.clinic()
    made = [(await world.doctor(clinic)).doctor_id for _ in range(5)]
    for path in (
        "/doctors",
        f"/clinics/{clinic}/doctors",
        "/doctors?specialty=cardiology",
        f"/doctors?clinic_id={clinic}",
    ):
        assert await read_pages(api, path, 2) == [made[:2], made[2:4], made[4:]]
    answer = await api.get("/doctors?clinic_id=1&limit=2&specialty=CARDIOLOGY")
    cursor = write_cursor((made[1],))
    assert next_page(answer) == f"/api/v1/doctors?clinic_id=1&specialty=CARDIOLOGY&cursor={cursor}&limit=2"
