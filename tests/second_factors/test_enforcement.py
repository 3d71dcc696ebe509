"""Who must have a second factor, who may take one away, and that no other door goes around it."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from tests.access.cast import set_password
from tests.api.answers import refusal
from tests.factories import Person, World
from tests.second_factors.conftest import Clock, Factors
from tests.second_factors.test_totp import refused

PASSWORD, ANOTHER = "three blue teapots", "four green teapots"


@pytest.fixture
def doctors_must(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """This installation asks a second factor of doctors and administrators."""
    changed = app.state.settings.model_copy(update={"require_mfa_roles": ["doctor", "admin"]})
    monkeypatch.setitem(app.state._state, "settings", changed)


async def give_password(app: FastAPI, world: World, person: Person) -> None:
    await set_password(world, person, await app.state.gate.passwords.hash(PASSWORD))


async def log_in(api: httpx.AsyncClient, person: Person, password: str = PASSWORD, **more: Any) -> httpx.Response:
    return await api.post("/auth/login", json={"email": person.email, "password": password, **more})


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def test_the_whole_way_of_a_login(factors: Factors, app: FastAPI, world: World, clock: Clock):
    person = await world.patient()
    await give_password(app, world, person)
    assert "access_token" in (await log_in(factors.api, person)).json()
    secret, codes = await factors.totp(person)
    answer = await log_in(factors.api, person)
    assert answer.status_code == 200
    begun = answer.json()
    assert set(begun) == {"mfa_required", "mfa_token", "methods"}
    assert "set-cookie" not in answer.headers
    headers = {"Authorization": f"Bearer {begun['mfa_token']}"}
    assert (await factors.api.get("/auth/profile", headers=headers)).status_code == 401
    done = await factors.complete(begun, clock.code(secret))
    assert (await factors.api.get("/auth/profile", headers=bearer(done))).status_code == 200
    begun = (await log_in(factors.api, person, refresh_in="cookie")).json()
    done = await factors.complete(begun, codes[0])
    assert done.json()["refresh_token"] is None
    assert "__Host-hs_refresh=hsr_" in done.headers["set-cookie"]


@pytest.mark.usefixtures("doctors_must")
async def test_who_must_enrol_reaches_nothing_but_his_account_until_he_has(
    factors: Factors, world: World, clock: Clock
):
    doctor = await world.doctor()
    patient = await world.patient()
    await world.appointment(patient, doctor)
    path = f"/doctors/{doctor.doctor_id}/appointments"
    for method, address in (("GET", path), ("GET", f"/patients/{patient.patient_id}"), ("GET", "/push/key")):
        answer = await factors.api.request(method, address, headers=doctor.headers)
        assert "second factor" in refusal(answer, "AUTHORIZATION_ERROR")["detail"], address
    for address in ("/auth/profile", "/auth/passkeys", "/auth/sessions"):
        assert (await factors.api.get(address, headers=doctor.headers)).status_code == 200, address
    begun = (await factors.api.post("/auth/mfa/totp", headers=doctor.headers)).json()
    refusal(await factors.api.get(path, headers=doctor.headers), "AUTHORIZATION_ERROR")
    body = {"code": clock.code(begun["secret"])}
    await factors.api.post("/auth/mfa/totp/confirm", json=body, headers=doctor.headers)
    assert (await factors.api.get(path, headers=doctor.headers)).status_code == 200
    assert (await factors.api.get(f"/patients/{patient.patient_id}", headers=doctor.headers)).status_code == 200
    assert (await factors.api.get("/push/key", headers=patient.headers)).status_code == 200, "patients need none"


@pytest.mark.usefixtures("doctors_must")
async def test_a_passkey_is_enough(factors: Factors, world: World):
    doctor = await world.doctor()
    await factors.passkey(doctor)
    answer = await factors.api.get(f"/doctors/{doctor.doctor_id}/appointments", headers=doctor.headers)
    assert answer.status_code == 200


@pytest.mark.usefixtures("doctors_must")
async def test_who_must_have_one_keeps_the_last(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    doctor = await world.doctor()
    await factors.totp(doctor)
    refusal(await factors.api.delete("/auth/mfa/totp", headers=doctor.headers), "CONFLICT")
    await factors.passkey(doctor)
    passkey = await owner.fetchval("SELECT id FROM passkeys")
    assert (await factors.api.delete("/auth/mfa/totp", headers=doctor.headers)).status_code == 204
    refusal(await factors.api.delete(f"/auth/passkeys/{passkey}", headers=doctor.headers), "CONFLICT")
    assert (await factors.password(doctor))["methods"] == ["recovery_code", "passkey"]
    patient = await world.patient()
    await factors.totp(patient)
    assert (await factors.api.delete("/auth/mfa/totp", headers=patient.headers)).status_code == 204


async def test_an_administrator_removes_lost_factors(
    factors: Factors, app: FastAPI, world: World, owner: asyncpg.Connection, clock: Clock
):
    admin, person, other = await world.admin(), await world.patient(), await world.patient()
    await give_password(app, world, person)
    _, codes = await factors.totp(person)
    await factors.totp(other)
    device = await factors.passkey(person)
    begun = await factors.password(person)
    path = f"/users/{person.user_id}/second-factors"
    assert (await factors.api.delete(path, headers=admin.headers)).status_code == 204
    assert (await factors.api.get("/auth/profile", headers=person.headers)).status_code == 401
    refused(await factors.complete(begun, codes[0]))
    assert (await factors.by_passkey(device)).status_code == 401
    assert "access_token" in (await log_in(factors.api, person)).json()
    assert await owner.fetchval("SELECT count(*) FROM totp_authenticators") == 1
    assert await owner.fetchval("SELECT count(*) FROM recovery_codes") == 10
    told = "SELECT count(*) FROM notifications WHERE user_id = $1 AND data->>'about' = 'second_factors_removed'"
    assert await owner.fetchval(told, person.user_id) == 1
    audited = await owner.fetchrow("SELECT * FROM audit_log WHERE action = 'remove_second_factors'")
    assert (audited["user_id"], audited["user_ids"]) == (admin.user_id, [person.user_id])


async def test_an_administrator_needs_a_fresh_proof_another_person_and_one_who_exists(
    factors: Factors, world: World, clock: Clock
):
    admin, person = await world.admin(), await world.patient()
    await factors.totp(admin)
    own = await factors.api.delete(f"/users/{admin.user_id}/second-factors", headers=admin.headers)
    assert "/auth/mfa/totp" in refusal(own, "CONFLICT")["detail"]
    refusal(await factors.api.delete("/users/999999/second-factors", headers=admin.headers), "RESOURCE_NOT_FOUND")
    headers = await world.sign_in(admin.user_id, "admin", authenticated_at=clock.now - timedelta(minutes=11))
    answer = await factors.api.delete(f"/users/{person.user_id}/second-factors", headers=headers)
    assert answer.json()["error_code"] == "REAUTHENTICATION_REQUIRED"


async def test_a_reset_password_does_not_go_around_the_second_factor(
    factors: Factors, app: FastAPI, world: World, clock: Clock
):
    person = await world.patient()
    await give_password(app, world, person)
    secret, _ = await factors.totp(person)
    async with app.state.worker_database.writing() as session, session.begin():
        purpose = Purpose.PASSWORD_RESET
        lifetime = timedelta(minutes=30)
        token = await one_time_tokens.issue(session, purpose, person.user_id, lifetime, clock.now)
    answer = await factors.api.post("/auth/password/reset", json={"token": token, "new_password": ANOTHER})
    assert (answer.status_code, answer.content) == (204, b"")
    begun = (await log_in(factors.api, person, ANOTHER)).json()
    assert begun["mfa_required"] is True
    assert (await factors.complete(begun, clock.code(secret))).status_code == 200


async def test_a_code_that_proved_somebody_again_is_used(factors: Factors, app: FastAPI, world: World, clock: Clock):
    person = await world.patient()
    await give_password(app, world, person)
    secret, _ = await factors.totp(person)
    headers = await world.sign_in(person.user_id, authenticated_at=clock.now - timedelta(hours=1))
    for body in ({}, {"code": "000000"}):
        answer = await factors.api.post("/auth/reauthenticate", json={"password": PASSWORD, **body}, headers=headers)
        assert answer.status_code in {400, 403}
    assert (await factors.api.delete("/auth/mfa/totp", headers=headers)).status_code == 403
    body = {"password": PASSWORD, "code": clock.code(secret)}
    assert (await factors.api.post("/auth/reauthenticate", json=body, headers=headers)).status_code == 204
    refused(await factors.sign_in(person, clock.code(secret)))
    assert (await factors.api.delete("/auth/mfa/totp", headers=headers)).status_code == 204


async def test_every_change_is_told(factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock):
    person = await world.patient()
    await factors.totp(person)
    await factors.passkey(person)
    passkey = await owner.fetchval("SELECT id FROM passkeys")
    clock.now += timedelta(seconds=1)
    await factors.api.post("/auth/mfa/recovery-codes", headers=person.headers)
    await factors.api.delete("/auth/mfa/totp", headers=person.headers)
    await factors.api.delete(f"/auth/passkeys/{passkey}", headers=person.headers)
    rows = await owner.fetch("SELECT kind, user_id, data FROM notifications ORDER BY id")
    assert {(row["kind"], row["user_id"]) for row in rows} == {("security_notice", person.user_id)}
    told = await owner.fetchval("SELECT array_agg(data->>'about' ORDER BY id) FROM notifications")
    assert told == ["totp_added", "passkey_added", "recovery_codes_replaced", "totp_removed", "passkey_removed"]
