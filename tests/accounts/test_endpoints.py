"""What administrators see and change of accounts."""

from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.accounts.ledger import stale, written
from tests.api.answers import digest, read_pages, refusal, shape
from tests.auth.test_endpoints import GUIDE, USER
from tests.factories import Person, World

LIVE = "SELECT count(*) FROM sessions WHERE user_id = $1 AND ended_at IS NULL"


async def change(api: httpx.AsyncClient, by: Person, user_id: int, **fields: Any) -> httpx.Response:
    """PUT /users/{id}."""
    return await api.put(f"/users/{user_id}", json=fields, headers=by.headers)


async def test_accounts_are_listed_by_id_and_filtered(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, patient, doctor = await world.admin(), await world.patient(), await world.doctor()
    away = await world.user("staff", is_active=False)
    nobody = await world.user("patient", email=None, password_hash=None)
    everybody = [admin, patient, doctor, away, nobody]
    pages = await read_pages(api, "/users", 2, headers=admin.headers)
    assert [user_id for page in pages for user_id in page] == sorted(person.user_id for person in everybody)
    for query, people in (
        ("role=patient", [patient, nobody]),
        ("is_active=false", [away]),
        ("role=staff&is_active=true", []),
        ("role=doctor&is_active=true", [doctor]),
    ):
        (page,) = await read_pages(api, f"/users?{query}", 100, headers=admin.headers)
        assert page == [person.user_id for person in people], query
    shown = {user["id"]: user for user in (await api.get("/users", headers=admin.headers)).json()}
    assert shape(shown[doctor.user_id], USER)["doctor_id"] == doctor.doctor_id
    assert shown[patient.user_id]["patient_id"] == patient.patient_id
    seen = await owner.fetchval("SELECT user_ids FROM audit_log ORDER BY id DESC LIMIT 1")
    assert seen == sorted(shown)


async def test_one_account(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    answer = await api.get(f"/users/{doctor.user_id}", headers=admin.headers)
    user = shape(answer.json(), USER)
    assert (user["email"], user["role"], user["doctor_id"]) == (doctor.email, "doctor", doctor.doctor_id)
    refusal(await api.get("/users/9999", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await change(api, admin, 9999, is_active=False), "RESOURCE_NOT_FOUND")
    refusal(await api.delete("/users/9999/sessions", headers=admin.headers), "RESOURCE_NOT_FOUND")


async def test_another_role_counts_at_once_and_ends_every_session(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    admin, person = await world.admin(), await world.user("doctor")
    answer = await change(api, admin, person.user_id, role="staff", is_verified=True)
    assert (answer.status_code, answer.json()["role"], answer.json()["is_verified"]) == (200, "staff", True)
    refusal(await api.get("/auth/profile", headers=person.headers), "AUTHENTICATION_ERROR")
    assert (
        await owner.fetchval("SELECT ended_reason FROM sessions WHERE user_id = $1", person.user_id) == "role changed"
    )
    assert await written(owner, app, person.user_id) == [{"kind": "security_notice", "about": "account_changed"}]


async def test_what_stays_as_it_is_ends_nothing_and_is_not_told(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    admin, person = await world.admin(), await world.patient()
    for fields in ({}, {"role": "patient", "is_active": True}, {"is_verified": True}):
        assert (await change(api, admin, person.user_id, **fields)).status_code == 200
    assert (await api.get("/auth/profile", headers=person.headers)).status_code == 200
    assert await written(owner, app, person.user_id) == []


async def test_who_is_made_inactive_is_nobody_at_once(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, person = await world.admin(), await world.patient()
    assert (await change(api, admin, person.user_id, is_active=False)).json()["is_active"] is False
    refusal(await api.get("/auth/profile", headers=person.headers), "AUTHENTICATION_ERROR")
    assert (await change(api, admin, person.user_id, is_active=True)).json()["is_active"] is True
    refusal(await api.get("/auth/profile", headers=person.headers), "AUTHENTICATION_ERROR")
    assert await owner.fetchval(LIVE, person.user_id) == 0


async def test_staff_who_become_something_else_leave_their_clinics(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin, staff = await world.admin(), await world.staff()
    answer = await change(api, admin, staff.user_id, role="patient")
    assert answer.json()["patient_id"] is not None, "a patient has a record"
    assert (await change(api, admin, staff.user_id, role="staff")).status_code == 200
    assert await owner.fetchval("SELECT count(*) FROM clinic_staff") == 0
    again = await change(api, admin, staff.user_id, role="patient")
    assert again.json()["patient_id"] == answer.json()["patient_id"]


async def test_a_doctor_stays_one_while_the_record_is_active(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    refusal(await change(api, admin, doctor.user_id, role="patient"), "CONFLICT")
    record = f"/doctors/{doctor.doctor_id}"
    assert (await api.put(record, json={"is_active": False}, headers=admin.headers)).status_code == 200
    assert (await change(api, admin, doctor.user_id, role="patient")).status_code == 200
    refusal(await api.put(record, json={"is_active": True}, headers=admin.headers), "CONFLICT")
    assert (await change(api, admin, doctor.user_id, role="doctor")).status_code == 200
    assert (await api.put(record, json={"is_active": True}, headers=admin.headers)).status_code == 200


@pytest.mark.parametrize("fields", [{"role": "staff"}, {"is_active": False}, {"role": "patient", "is_active": False}])
async def test_the_last_active_administrator_stays_one(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, fields: dict[str, Any]
):
    admin = await world.admin()
    await world.user("admin", is_active=False)
    await world.user("admin", password_hash=None)  # invited, and not here yet
    before = await digest(owner)
    refusal(await change(api, admin, admin.user_id, **fields), "CONFLICT")
    assert await digest(owner) == before
    other = await world.admin()
    assert (await change(api, admin, admin.user_id, **fields)).status_code == 200
    refusal(await change(api, other, other.user_id, **fields), "CONFLICT")


@pytest.mark.parametrize(("role", "is_active", "fields"), [
    ("staff", True, {"role": "admin"}),
    ("admin", False, {"is_active": True}),
])  # fmt: skip
async def test_whoever_makes_an_administrator_has_just_proved_who_he_is(
    api: httpx.AsyncClient,
    world: World,
    owner: asyncpg.Connection,
    role: str,
    is_active: bool,
    fields: dict[str, Any],
):
    admin, person = await world.admin(), await world.user(role, is_active=is_active)
    headers = await stale(world, admin.user_id, "admin")
    before = await digest(owner)
    answer = await api.put(f"/users/{person.user_id}", json=fields, headers=headers)
    refusal(answer, "REAUTHENTICATION_REQUIRED")
    assert await digest(owner) == before
    assert (await api.put(f"/users/{person.user_id}", json={"is_verified": True}, headers=headers)).status_code == 200
    assert (await change(api, admin, person.user_id, **fields)).status_code == 200


async def test_an_administrator_who_registers_another_has_just_proved_who_he_is(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    headers = await stale(world, admin.user_id, "admin")
    before = await digest(owner)
    body = GUIDE | {"role": "admin"}
    refusal(await api.post("/auth/register", json=body, headers=headers), "REAUTHENTICATION_REQUIRED")
    assert await digest(owner) == before
    assert (await api.post("/auth/register", json=body | {"role": "staff"}, headers=headers)).status_code == 200


async def test_an_erased_person_stays_away(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, person = await world.admin(), await world.patient()
    await owner.execute(
        """UPDATE users SET name = 'Erased person', email = NULL, password_hash = NULL, is_active = false,
                            erased_at = now() WHERE id = $1""",
        person.user_id,
    )
    refusal(await change(api, admin, person.user_id, is_active=True), "CONFLICT")


async def test_an_administrator_signs_somebody_out_everywhere(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin, person = await world.admin(), await world.patient()
    elsewhere = await world.sign_in(person.user_id)
    answer = await api.delete(f"/users/{person.user_id}/sessions", headers=admin.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    for headers in (person.headers, elsewhere):
        refusal(await api.get("/auth/profile", headers=headers), "AUTHENTICATION_ERROR")
    assert await owner.fetchval(LIVE, person.user_id) == 0
    assert (await api.get("/auth/profile", headers=admin.headers)).status_code == 200
