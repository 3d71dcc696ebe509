"""What the endpoints of doctors refuse by form."""

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import Wrong, all_refused, bad_ids, bad_pages, bodies, each, ids, numbers, texts, urls_refused
from tests.factories import World

SHARED = [
    *ids("clinic_id"),
    *texts("specialty", 100, required=True),
    *texts("license_number", 64, required=True),
    *texts("qualifications", 1000, lines=True),
    *numbers("experience_years", 0, 80),
    *numbers("max_patients_per_day", 1, 1000),
    Wrong({"clinic_id": 999}, code="RESOURCE_NOT_FOUND"),
]


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, user, clinic = await world.admin(), await world.user("doctor"), await world.clinic()
    good = {"user_id": user.user_id, "clinic_id": clinic, "specialty": "Cardiology", "license_number": "L1"}
    cases = [*bodies(*good), *ids("user_id"), *SHARED, Wrong({"is_active": False}, ("is_active",))]
    cases += [
        Wrong({"user_id": admin.user_id}, ("user_id",)),
        Wrong({"user_id": 999}, code="RESOURCE_NOT_FOUND"),
        Wrong({"name": "Dr. No"}, ("name",)),
        Wrong({"clinic_id": 0, "specialty": ""}, ("clinic_id", "specialty")),
    ]
    await all_refused(api, owner, ("POST", "/doctors"), admin.headers, good, cases)
    refusal(await api.post("/doctors", headers=admin.headers), "VALIDATION_ERROR", "body")
    assert (await api.post("/doctors", json=good, headers=admin.headers)).status_code == 201


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, doctor = await world.admin(), await world.doctor()
    required = ("clinic_id", "specialty", "license_number")
    cases = [*bodies(), *SHARED, *each("is_active", None, "true", 1, []), Wrong({"user_id": 1}, ("user_id",))]
    cases += [Wrong({field: None}, (field,)) for field in required]
    await all_refused(api, owner, ("PUT", f"/doctors/{doctor.doctor_id}"), admin.headers, {}, cases)
    refusal(await api.put(f"/doctors/{doctor.doctor_id}", headers=admin.headers), "VALIDATION_ERROR", "body")
    assert (await api.put(f"/doctors/{doctor.doctor_id}", json={}, headers=admin.headers)).status_code == 200


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.admin()).headers
    cases = bad_pages("/doctors") | bad_ids("/doctors/{}", "doctor_id") | bad_ids("/doctors?clinic_id={}", "clinic_id")
    cases |= {"/doctors?specialty=": "specialty", "/doctors?specialty=%07": "specialty"}
    cases |= {f"/doctors?specialty={'x' * 101}": "specialty", "/doctors/1?token=x": "token"}
    await urls_refused(api, owner, headers, cases, "GET")
    await urls_refused(api, owner, headers, bad_ids("/doctors/{}", "doctor_id"), "PUT")
