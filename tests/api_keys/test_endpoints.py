"""API keys: made once, shown once, used by machines, ended at once."""

import asyncio
import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.accounts.ledger import stale, written
from tests.api.answers import digest, read_pages, refusal, shape
from tests.api_keys.keys import make_key
from tests.factories import Person, World, booking
from tests.limits.clocks import Clock, limiter_on

READ = {"id", "name", "prefix", "scopes", "expires_at", "last_used_at", "revoked_at", "created_at"}
KIOSK = {"name": "Kiosk", "scopes": ["patients:read", "appointments:*"]}
KEY = re.compile(r"hs_[a-z0-9]{12}_[A-Za-z0-9_-]{43}")


async def make(api: httpx.AsyncClient, person: Person, **changes: Any) -> dict[str, Any]:
    """A new key, as its maker is shown it."""
    answer = await api.post("/api-keys", json=KIOSK | changes, headers=person.headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return shape(answer.json(), READ | {"key"})


async def own_record(api: httpx.AsyncClient, person: Person, headers: dict[str, str]) -> httpx.Response:
    """Read the person's patient record."""
    return await api.get(f"/patients/{person.patient_id}", headers=headers)


async def test_a_key_is_shown_once_and_kept_as_a_hash(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    made = await make(api, person)
    key = made.pop("key")
    assert KEY.fullmatch(key)
    assert (made["prefix"], made["scopes"]) == (key[:15], ["appointments:*", "patients:read"])
    assert (made["expires_at"], made["last_used_at"], made["revoked_at"]) == (None, None, None)
    for answer in (
        await api.get("/api-keys", headers=person.headers),
        await api.get("/api-keys/1", headers=person.headers),
    ):
        assert key not in answer.text
    assert (await api.get("/api-keys", headers=person.headers)).json() == [made]
    row = await owner.fetchrow("SELECT *, api_keys::text AS whole FROM api_keys")
    assert row["secret_hash"] == hashlib.sha256(key[16:].encode()).digest()
    assert key[16:] not in row["whole"]
    assert await written(owner, app, person.user_id) == [{"kind": "security_notice", "about": "api_key_created"}]


async def test_a_key_is_sent_in_either_header(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    key = (await make(api, person))["key"]
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert (await own_record(api, person, headers)).json()["id"] == person.patient_id
    both = {"X-API-Key": key, "Authorization": f"Bearer {key}"}
    refusal(await own_record(api, person, both), "AUTHENTICATION_ERROR")


async def test_what_is_no_key_is_nobody(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    key, other = (await make(api, person))["key"], (await make(api, person))["key"]
    token = person.headers["Authorization"].removeprefix("Bearer ")
    wrong = [
        key[:-1],
        key + "A",
        key.upper(),
        f"{key[:15]}_{other[16:]}",
        f"hs_{'a' * 12}_{key[16:]}",
        key[16:],
        token,
        "",
    ]
    for text in wrong:
        refusal(await own_record(api, person, {"X-API-Key": text}), "AUTHENTICATION_ERROR")
    for text in wrong[:-2]:
        refusal(await own_record(api, person, {"Authorization": f"Bearer {text}"}), "AUTHENTICATION_ERROR")


async def test_a_revoked_key_is_nobody_at_once(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    made = await make(api, person)
    headers = {"X-API-Key": made["key"]}
    assert (await own_record(api, person, headers)).status_code == 200
    answer = await api.delete(f"/api-keys/{made['id']}", headers=person.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    refusal(await own_record(api, person, headers), "AUTHENTICATION_ERROR")
    before = await digest(owner)
    assert (await api.delete(f"/api-keys/{made['id']}", headers=person.headers)).status_code == 204
    assert await digest(owner) == before
    assert (await api.get(f"/api-keys/{made['id']}", headers=person.headers)).json()["revoked_at"] is not None


async def test_a_key_ends_when_it_was_to_end(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    end = datetime.now(UTC) + timedelta(hours=1)
    key = (await make(api, person, expires_at=end.isoformat()))["key"]
    assert (await own_record(api, person, {"X-API-Key": key})).status_code == 200
    await owner.execute("UPDATE api_keys SET expires_at = now()")
    refusal(await own_record(api, person, {"X-API-Key": key}), "AUTHENTICATION_ERROR")


async def test_a_key_outlives_passwords_and_sessions_but_not_the_account(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person, admin = await world.patient(), await world.admin()
    headers = {"X-API-Key": (await make(api, person))["key"]}
    await owner.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", person.user_id)
    refusal(await own_record(api, person, person.headers), "AUTHENTICATION_ERROR")
    assert (await own_record(api, person, headers)).status_code == 200
    for is_active, status in ((False, 401), (True, 200)):
        await api.put(f"/users/{person.user_id}", json={"is_active": is_active}, headers=admin.headers)
        assert (await own_record(api, person, headers)).status_code == status
    # what its owner may do now is what it may do now
    await api.put(f"/users/{person.user_id}", json={"role": "doctor"}, headers=admin.headers)
    answer = await api.get("/appointments", headers=headers)
    refusal(answer, "AUTHORIZATION_ERROR")


async def test_its_use_is_noted_once_a_minute(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    headers = {"X-API-Key": (await make(api, person))["key"]}
    last = "SELECT last_used_at FROM api_keys"
    await asyncio.gather(*(own_record(api, person, headers) for _ in range(5)))
    first = await owner.fetchval(last)
    assert first is not None
    await own_record(api, person, headers)
    assert await owner.fetchval(last) == first
    await owner.execute("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    await own_record(api, person, headers)
    assert await owner.fetchval(last) > first


async def test_nobody_waits_for_another_request_to_note_the_use(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    headers = {"X-API-Key": (await make(api, person))["key"]}
    async with owner.transaction():
        await owner.execute("UPDATE api_keys SET name = 'held'")
        assert (await asyncio.wait_for(own_record(api, person, headers), 30)).status_code == 200


async def test_whoever_makes_a_key_has_just_proved_who_he_is(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    headers = await stale(world, person.user_id, "patient")
    before = await digest(owner)
    refusal(await api.post("/api-keys", json=KIOSK, headers=headers), "REAUTHENTICATION_REQUIRED")
    assert await digest(owner) == before
    assert (await api.get("/api-keys", headers=headers)).status_code == 200


async def test_everybody_sees_and_ends_his_own_only(api: httpx.AsyncClient, world: World):
    person, admin = await world.patient(), await world.admin()
    mine = [(await make(api, person))["id"] for _ in range(3)]
    theirs = (await make(api, admin))["id"]
    assert await read_pages(api, "/api-keys", 2, headers=person.headers) == [mine[:2], mine[2:]]
    assert await read_pages(api, "/api-keys", 2, headers=admin.headers) == [[theirs]]
    for method in ("GET", "DELETE"):
        refusal(await api.request(method, f"/api-keys/{mine[0]}", headers=admin.headers), "RESOURCE_NOT_FOUND")
        refusal(await api.request(method, f"/api-keys/{theirs}", headers=person.headers), "RESOURCE_NOT_FOUND")


async def test_twenty_keys_live_and_no_more(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person, admin = await world.patient(), await world.admin()
    for ended in ({"revoked_at": datetime.now(UTC)}, {"expires_at": datetime.now(UTC)}):
        await make_key(world, person.user_id, "slots:*", **ended)
    for _ in range(18):
        await make_key(world, person.user_id, "slots:*")
    requests = (api.post("/api-keys", json=KIOSK, headers=person.headers) for _ in range(6))
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*requests))
    assert statuses == [201, 201, 409, 409, 409, 409]
    assert await owner.fetchval("SELECT count(*) FROM api_keys WHERE user_id = $1", person.user_id) == 22
    assert (await make(api, admin))["key"]


async def test_a_key_books_once_under_an_idempotency_key(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    patient, doctor = await world.patient(), await world.doctor()
    headers = await make_key(world, patient.user_id, "appointments:book") | {"Idempotency-Key": "once"}
    body = booking(patient, doctor, await world.slot(doctor))
    first, second = [await api.post("/appointments/book", json=body, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 1
    other = await make_key(world, patient.user_id, "appointments:read") | {"Idempotency-Key": "once"}
    refusal(await api.post("/appointments/book", json=body, headers=other), "AUTHORIZATION_ERROR")


async def test_the_audit_tells_which_key_it_was(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    made = await make(api, person)
    await own_record(api, person, {"X-API-Key": made["key"]})
    await own_record(api, person, {"X-API-Key": f"{made['key'][:-1]}!"})
    rows = await owner.fetch("SELECT user_id, via, status FROM audit_log ORDER BY id DESC LIMIT 2")
    assert [tuple(row) for row in rows] == [(None, None, 401), (person.user_id, f"key:{made['id']}", 200)]


async def test_each_key_has_a_limit_of_its_own(
    api: httpx.AsyncClient, app: FastAPI, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    limiter = limiter_on(tmp_path / "counts", '{"api_key": "2/minute", "caller": "1/minute"}', Clock())
    monkeypatch.setitem(app.state._state, "limiter", limiter)
    person = await world.patient()
    busy, quiet = [await make_key(world, person.user_id, "patients:read") for _ in range(2)]
    guessed = {"X-API-Key": busy["X-API-Key"][:-1] + "x"}
    for _ in range(3):  # who only knows how a key begins uses nothing up
        await own_record(api, person, guessed)
    answers = [await own_record(api, person, busy) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert (await own_record(api, person, quiet)).status_code == 200
    assert (await own_record(api, person, person.headers)).status_code == 200
    await limiter.close()


async def test_what_the_installation_asks_of_the_owner_it_asks_of_his_key(
    api: httpx.AsyncClient, app: FastAPI, world: World, monkeypatch: pytest.MonkeyPatch
):
    person = await world.patient()
    headers = await make_key(world, person.user_id, "patients:read")
    changed = app.state.settings.model_copy(update={"require_mfa_roles": ["patient"]})
    monkeypatch.setitem(app.state._state, "settings", changed)
    refusal(await own_record(api, person, headers), "AUTHORIZATION_ERROR")


async def test_a_key_is_shown_once_also_to_whoever_asks_again(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    headers = person.headers | {"Idempotency-Key": "once"}
    made = await api.post("/api-keys", json={"name": "x", "scopes": ["patients:read"]}, headers=headers)
    assert made.status_code == 201, made.text
    again = await api.post("/api-keys", json={"name": "x", "scopes": ["patients:read"]}, headers=headers)
    refusal(again, "CONFLICT")
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 1
    assert await owner.fetchval("SELECT length(answer) FROM idempotency_keys") == 0
