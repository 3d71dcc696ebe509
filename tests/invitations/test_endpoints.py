"""Inviting people, and what they do with the mail."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.accounts.ledger import last_token, stale, written
from tests.api.answers import digest, refusal, shape
from tests.auth.test_endpoints import GUIDE, USER, login, register
from tests.factories import Person, World
from tests.limits.clocks import Clock, limiter_on

JANE = {"email": "Jane.Smith@Example.com", "name": "Jane Smith", "role": "doctor"}
ADDRESS = "jane.smith@example.com"
PASSWORD = "three blue teapots"
HASH = "SELECT password_hash FROM users WHERE id = $1"


async def invite(api: httpx.AsyncClient, by: Person, **changes: Any) -> dict[str, Any]:
    """Invite Jane; her account."""
    answer = await api.post("/users/invitations", json=JANE | changes, headers=by.headers)
    assert answer.status_code == 201, answer.text
    return shape(answer.json(), USER)


async def accept(api: httpx.AsyncClient, token: str, password: str = PASSWORD) -> httpx.Response:
    """POST /auth/invitation/accept, by a stranger."""
    return await api.post("/auth/invitation/accept", json={"token": token, "password": password})


async def test_the_whole_way(api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection):
    user = await invite(api, await world.admin())
    assert (user["email"], user["name"], user["role"]) == (ADDRESS, "Jane Smith", "doctor")
    assert (user["is_verified"], user["is_active"], user["doctor_id"]) == (False, True, None)
    assert await owner.fetchval(HASH, user["id"]) is None
    refusal(await login(api, email=ADDRESS, password=PASSWORD), "AUTHENTICATION_ERROR")
    (mail,) = await written(owner, app, user["id"])
    assert (mail["kind"], mail["about"]) == ("email_verification", "invitation")
    days = await owner.fetchval("SELECT extract(day FROM expires_at - created_at)::int FROM one_time_tokens")
    assert days == 7
    answer = await accept(api, mail["token"])
    assert (answer.status_code, answer.content) == (204, b"")
    answer = await login(api, email=ADDRESS, password=PASSWORD)
    assert answer.json()["user"] | {"id": user["id"], "role": "doctor", "is_verified": True} == answer.json()["user"]


async def test_a_token_works_once_and_only_for_this(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    user = await invite(api, await world.admin())
    token = await last_token(owner, app, user["id"])
    reset = {"token": token, "new_password": PASSWORD}
    refusal(await api.post("/auth/password/reset", json=reset), "VALIDATION_ERROR", "token")
    refusal(await accept(api, token + "x"), "VALIDATION_ERROR", "token")
    assert (await accept(api, token)).status_code == 204
    refusal(await accept(api, token, "another three teapots"), "VALIDATION_ERROR", "token")
    assert (await login(api, email=ADDRESS, password=PASSWORD)).status_code == 200


async def test_no_token_stands_in_the_database(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    user = await invite(api, await world.admin())
    token = await last_token(owner, app, user["id"])
    for table in ("one_time_tokens", "notifications", "audit_log", "users"):
        rows = await owner.fetch(f"SELECT t::text AS row FROM {table} t")
        assert rows, table
        assert not [row for row in rows if token in row["row"]], table


async def test_two_who_accept_at_once(api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection):
    token = await last_token(owner, app, (await invite(api, await world.admin()))["id"])
    passwords = [f"{number} blue teapots" for number in ("three", "seven", "eleven")]
    answers = await asyncio.gather(*(accept(api, token, password) for password in passwords))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400]
    let_in = [await login(api, email=ADDRESS, password=password) for password in passwords]
    assert [answer.status_code == 200 for answer in let_in] == [answer.status_code == 204 for answer in answers]


@pytest.mark.parametrize("password", ["password", "Jane Smith", ADDRESS])
async def test_a_refused_password_leaves_the_token_as_it_is(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, password: str
):
    token = await last_token(owner, app, (await invite(api, await world.admin()))["id"])
    before = await digest(owner)
    refusal(await accept(api, token, password), "VALIDATION_ERROR", "password")
    assert await digest(owner) == before
    assert (await accept(api, token)).status_code == 204


async def test_what_has_expired_or_was_withdrawn(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    user = await invite(api, admin)
    first = await last_token(owner, app, user["id"])
    again = f"/users/{user['id']}/invitation"
    assert (await api.post(again, headers=admin.headers)).status_code == 202
    second = await last_token(owner, app, user["id"])
    refusal(await accept(api, first), "VALIDATION_ERROR", "token")
    await owner.execute("UPDATE one_time_tokens SET expires_at = now() WHERE used_at IS NULL")
    refusal(await accept(api, second), "VALIDATION_ERROR", "token")
    assert (await api.post(again, headers=admin.headers)).status_code == 202
    third = await last_token(owner, app, user["id"])
    await api.put(f"/users/{user['id']}", json={"is_active": False}, headers=admin.headers)
    refusal(await accept(api, third), "VALIDATION_ERROR", "token")
    refusal(await api.post(again, headers=admin.headers), "CONFLICT")
    assert await owner.fetchval(HASH, user["id"]) is None


async def test_attack_9_an_invitation_to_somebody_who_is_here_changes_nothing(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """Cal.com, takeover by an invitation to an address that has an account (Gecko, January 2026)."""
    admin = await world.admin()
    assert (await register(api)).status_code == 200
    before = await digest(owner)
    for role in ("patient", "admin"):
        body = JANE | {"email": GUIDE["email"].upper(), "role": role}
        answer = await api.post("/users/invitations", json=body, headers=admin.headers)
        refusal(answer, "EMAIL_ALREADY_REGISTERED")
    assert await digest(owner) == before
    assert (await login(api)).status_code == 200


async def test_nobody_registers_with_the_address_of_somebody_invited(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    user = await invite(api, await world.admin())
    refusal(await register(api, email=ADDRESS), "EMAIL_ALREADY_REGISTERED")
    assert (await api.post("/auth/password/forgot", json={"email": ADDRESS})).status_code == 202
    assert [told["about"] for told in await written(owner, app, user["id"])] == ["invitation"]
    assert await owner.fetchval(HASH, user["id"]) is None


async def test_staff_are_invited_to_a_clinic(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, clinic = await world.admin(), await world.clinic()
    user = await invite(api, admin, role="staff", clinic_id=clinic)
    works = await owner.fetch("SELECT clinic_id, user_id FROM clinic_staff")
    assert [tuple(row) for row in works] == [(clinic, user["id"])]
    before = await digest(owner)
    body = JANE | {"email": "other@example.org", "role": "staff", "clinic_id": 999}
    refusal(await api.post("/users/invitations", json=body, headers=admin.headers), "RESOURCE_NOT_FOUND")
    assert await digest(owner) == before


async def test_a_patient_who_is_invited_has_a_record(api: httpx.AsyncClient, world: World):
    assert (await invite(api, await world.admin(), role="patient"))["patient_id"] is not None


async def test_whoever_invites_an_administrator_has_just_proved_who_he_is(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    headers = await stale(world, admin.user_id, "admin")
    before = await digest(owner)
    answer = await api.post("/users/invitations", json=JANE | {"role": "admin"}, headers=headers)
    refusal(answer, "REAUTHENTICATION_REQUIRED")
    assert await digest(owner) == before
    assert (await api.post("/users/invitations", json=JANE, headers=headers)).status_code == 201
    assert (await invite(api, admin, role="admin", email="boss@example.org"))["role"] == "admin"


async def test_only_who_has_no_password_and_an_address_is_invited_again(api: httpx.AsyncClient, world: World):
    admin, person = await world.admin(), await world.patient()
    nobody = await world.user(email=None, password_hash=None)
    for user_id, code in ((person.user_id, "CONFLICT"), (nobody.user_id, "CONFLICT"), (999, "RESOURCE_NOT_FOUND")):
        refusal(await api.post(f"/users/{user_id}/invitation", headers=admin.headers), code)


async def test_a_person_whom_staff_have_entered_gets_a_login(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    doctor = await world.doctor()
    staff, other = await world.staff(doctor.clinic_id), await world.staff()
    body = {"name": "Jane Smith", "email": ADDRESS}
    record = (await api.post("/patients", json=body, headers=staff.headers)).json()
    path = f"/patients/{record['id']}/invite"
    # until she has an appointment at their clinic, staff do not see whom they have entered
    refusal(await api.post(path, headers=staff.headers), "AUTHORIZATION_ERROR")
    await world.appointment(Person(record["user_id"], ADDRESS, {}, patient_id=record["id"]), doctor)
    refusal(await api.post(path, headers=other.headers), "AUTHORIZATION_ERROR")
    answer = await api.post(path, headers=staff.headers)
    assert (answer.status_code, answer.content) == (202, b"")
    assert (await accept(api, await last_token(owner, app, record["user_id"]))).status_code == 204
    user = (await login(api, email=ADDRESS, password=PASSWORD)).json()["user"]
    assert (user["patient_id"], user["is_verified"]) == (record["id"], True)
    refusal(await api.post(path, headers=staff.headers), "CONFLICT")
    refusal(await api.post("/patients/999/invite", headers=staff.headers), "RESOURCE_NOT_FOUND")


async def test_three_mails_an_hour_to_one_address(
    api: httpx.AsyncClient, app: FastAPI, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limiter = limiter_on(tmp_path / "counts", "", Clock())
    monkeypatch.setitem(app.state._state, "limiter", limiter)
    admin = await world.admin()
    user = await invite(api, admin)
    again = [await api.post(f"/users/{user['id']}/invitation", headers=admin.headers) for _ in range(4)]
    assert [answer.status_code for answer in again] == [202, 202, 202, 429]
    await limiter.close()


async def test_the_audit_names_whom_it_regards(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    user = await invite(api, admin)
    token = await last_token(owner, app, user["id"])
    assert hashlib.sha256(token.encode()).digest() == await owner.fetchval("SELECT token_hash FROM one_time_tokens")
    await accept(api, token)
    rows = await owner.fetch("SELECT action, user_id, user_ids, status FROM audit_log ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("invite_user", admin.user_id, [user["id"]], 201),
        ("accept_invitation", user["id"], [], 204),
    ]
