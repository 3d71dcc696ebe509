"""What everybody changes of his own account."""

import hashlib
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.accounts.ledger import stale, written
from tests.api.answers import digest, refusal, shape
from tests.auth.test_endpoints import USER
from tests.factories import World
from tests.limits.clocks import Clock, limiter_on

UNUSED = "SELECT purpose FROM one_time_tokens WHERE user_id = $1 AND used_at IS NULL ORDER BY purpose"


async def test_everybody_sees_his_own_account(api: httpx.AsyncClient, world: World):
    for person in (await world.patient(), await world.doctor(), await world.staff(), await world.admin()):
        user = shape((await api.get("/users/me", headers=person.headers)).json(), USER)
        assert (user["id"], user["email"]) == (person.user_id, person.email)


async def test_what_is_sent_changes_and_nothing_else(api: httpx.AsyncClient, world: World):
    person = await world.patient(user={"mobile_no": "+1 555 0100", "address": "1 Main St"})
    body = {"name": "Grace Okafor", "mobile_no": None}
    user = (await api.put("/users/me", json=body, headers=person.headers)).json()
    assert (user["name"], user["mobile_no"], user["address"]) == ("Grace Okafor", None, "1 Main St")
    assert (user["email"], user["patient_id"]) == (person.email, person.patient_id)
    assert (await api.get("/users/me", headers=person.headers)).json() == user


async def test_a_doctors_name_changes_in_the_directory_too(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    assert (await api.put("/users/me", json={"name": "Dr. Ada Wong"}, headers=doctor.headers)).status_code == 200
    assert (await api.get(f"/doctors/{doctor.doctor_id}")).json()["name"] == "Dr. Ada Wong"


async def test_another_address_is_unverified_and_both_are_written_to(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    person = await world.patient(user={"is_verified": True})
    for purpose in ("email_verification", "password_reset", "mfa"):
        await owner.execute(
            "INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at) VALUES ($1, $2, $3, now() + '1 h')",
            *(purpose.encode(), purpose, person.user_id),
        )
    answer = await api.put("/users/me", json={"email": " New@Example.org "}, headers=person.headers)
    assert (answer.status_code, answer.json()["email"]) == (200, "new@example.org")
    assert answer.json()["is_verified"] is False
    verification, told = await written(owner, app, person.user_id)
    assert (verification["kind"], verification["about"]) == ("email_verification", "email_verification")
    assert "to" not in verification
    assert told == {"kind": "security_notice", "about": "email_changed", "to": person.email}
    # whatever was mailed to the address of before lets nobody in any more
    assert [row["purpose"] for row in await owner.fetch(UNUSED, person.user_id)] == ["email_verification", "mfa"]
    hashed = hashlib.sha256(verification["token"].encode()).digest()
    row = await owner.fetchrow("SELECT * FROM one_time_tokens WHERE token_hash = $1", hashed)
    assert row["user_id"] == person.user_id


async def test_the_address_needs_a_fresh_proof_and_nothing_else_does(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    headers = await stale(world, person.user_id, "patient")
    before = await digest(owner)
    body = {"name": "Grace Okafor", "email": "new@example.org"}
    refusal(await api.put("/users/me", json=body, headers=headers), "REAUTHENTICATION_REQUIRED")
    assert await digest(owner) == before
    same = {"name": "Grace Okafor", "email": person.email.upper()}
    assert (await api.put("/users/me", json=same, headers=headers)).json()["name"] == "Grace Okafor"


async def test_an_address_that_another_has_stays_his(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person, other = await world.patient(), await world.patient()
    before = await digest(owner)
    answer = await api.put("/users/me", json={"email": other.email.upper()}, headers=person.headers)
    refusal(answer, "EMAIL_ALREADY_REGISTERED")
    assert await digest(owner) == before


async def test_nobody_is_flooded_with_mails_by_changing_to_his_address(
    api: httpx.AsyncClient, app: FastAPI, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limiter = limiter_on(tmp_path / "counts", '{"mail_target": "1/hour"}', Clock())
    monkeypatch.setitem(app.state._state, "limiter", limiter)
    for statuses, person in ((200, await world.patient()), (429, await world.patient())):
        answer = await api.put("/users/me", json={"email": "target@example.org"}, headers=person.headers)
        assert answer.status_code == statuses
        back = await api.put("/users/me", json={"email": f"{person.user_id}@example.org"}, headers=person.headers)
        assert back.status_code == 200
    await limiter.close()


async def test_who_must_verify_his_address_can_still_correct_it(
    api: httpx.AsyncClient, app: FastAPI, world: World, monkeypatch: pytest.MonkeyPatch
):
    changed = app.state.settings.model_copy(update={"require_verified_email": True})
    monkeypatch.setitem(app.state._state, "settings", changed)
    person = await world.patient()
    refusal(await api.get(f"/patients/{person.patient_id}", headers=person.headers), "AUTHORIZATION_ERROR")
    answer = await api.put("/users/me", json={"email": "right@example.org"}, headers=person.headers)
    assert answer.json()["email"] == "right@example.org"


async def test_an_address_that_is_taken_uses_up_none_of_its_owners_mails(
    app: FastAPI, api: httpx.AsyncClient, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limiter = limiter_on(tmp_path / "counts", '{"mail_target": "1/hour"}', Clock())
    monkeypatch.setitem(app.state._state, "limiter", limiter)
    victim, stranger = await world.patient(), await world.patient()
    for _ in range(2):
        taken = await api.put("/users/me", json={"email": victim.email}, headers=stranger.headers)
        refusal(taken, "EMAIL_ALREADY_REGISTERED")
    await limiter.test("mail_target", victim.email)
