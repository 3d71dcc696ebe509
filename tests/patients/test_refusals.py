"""What the endpoints of patients refuse by form."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import (
    Wrong,
    all_refused,
    bad_ids,
    bad_pages,
    bodies,
    choices,
    each,
    emails,
    texts,
    urls_refused,
)
from tests.factories import World

_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
DAYS: tuple[Any, ...] = (
    _TOMORROW, "2199-01-01", "1700-01-01", "0001-01-01", "9999-12-31", "1990-02-30", "1990-1-15", "15.01.1990",
    "1990-01-15T00:00:00Z", "", "long ago", 631152000, True, [], {}, "\u0661\u0669\u0669\u0660-01-15",
)  # fmt: skip
RECORD = [
    *each("date_of_birth", *DAYS),
    *choices("blood_group", nullable=True),
    *each("blood_group", "C+", "o+", "O", "AB"),
    *texts("allergies", 2000, lines=True),
    *texts("emergency_contact", 200),
    *choices("sex", nullable=True),
    *each("preferred_language", "x", "english language", "en_US", "e" * 36, "e\x00", 1, []),
]


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, other = await world.admin(), await world.user(email="taken@example.org")
    cases = [*bodies(), *texts("name", 200), *each("name", "", "  "), *texts("mobile_no", 32), *texts("address", 500)]
    cases += [*emails("email", nullable=True), *RECORD, Wrong({"is_active": False}, ("is_active",))]
    cases += [Wrong({"email": "TAKEN@Example.ORG"}, code="EMAIL_ALREADY_REGISTERED")]
    cases += [
        Wrong({"password": "long enough, really"}, ("password",)),
        Wrong({"user_id": other.user_id}, ("user_id",)),
    ]
    await all_refused(api, owner, ("POST", "/patients"), admin.headers, {"name": "Ann"}, cases)
    refusal(await api.post("/patients", headers=admin.headers), "VALIDATION_ERROR", "body")
    assert (await api.post("/patients", json={"name": "Ann"}, headers=admin.headers)).status_code == 201


async def test_own_record(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, staff = await world.doctor(), await world.staff()
    person = {"email": "new@example.org", "mobile_no": "1", "address": "Street"}
    cases = [Wrong({field: value}, (field,)) for field, value in person.items()]
    await all_refused(api, owner, ("POST", "/patients"), doctor.headers, {}, [*cases, *RECORD])
    await all_refused(api, owner, ("POST", "/patients"), staff.headers, {}, [Wrong({}, ("name",))])


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    path = f"/patients/{patient.patient_id}"
    cases = [*bodies(), *RECORD, *each("is_active", None, "true", 1), *each("name", "Somebody else")]
    await all_refused(api, owner, ("PUT", path), patient.headers, {}, cases)
    refusal(await api.put(path, headers=patient.headers), "VALIDATION_ERROR", "body")
    assert (await api.put(path, json={}, headers=patient.headers)).status_code == 200


async def test_search(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin = await world.admin()
    cases = [*bodies("query"), *texts("query", 200, required=True), *each("query", "a", " a ")]
    await all_refused(api, owner, ("POST", "/patients/search"), admin.headers, {"query": "ann"}, cases)
    refusal(await api.post("/patients/search", headers=admin.headers), "VALIDATION_ERROR", "body")


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    lists = bad_pages(f"/patients/{patient.patient_id}/appointments")
    paths = bad_ids("/patients/{}", "patient_id") | bad_ids("/patients/{}/appointments", "patient_id")
    unknown = {f"/patients/{patient.patient_id}?token=secret": "token"}
    await urls_refused(api, owner, patient.headers, lists | paths | unknown, "GET")
    await urls_refused(api, owner, patient.headers, bad_ids("/patients/{}", "patient_id"), "PUT")
    await urls_refused(api, owner, (await world.admin()).headers, bad_pages("/patients/search"), "POST")
