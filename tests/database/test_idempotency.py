"""Idempotency keys: one effect, one answer, nothing in the clear, for a day."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.access.tokens import Tokens
from health_services.database import idempotency
from tests.factories import Person, World, booking

REGISTRATION = {"name": "Ada Lovelace", "email": "ada@example.org", "password": "a long sentence, mine"}


@pytest.fixture
async def admin(world: World) -> Person:
    return await world.admin()


def keyed(person: Person, key: str) -> dict[str, str]:
    return person.headers | {"Idempotency-Key": key}


async def make(api: httpx.AsyncClient, person: Person, key: str, name: str = "Harbour Clinic") -> httpx.Response:
    return await api.post("/clinics", json={"name": name}, headers=keyed(person, key))


async def test_the_same_request_has_the_same_bytes_again(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    first, second = await make(api, admin, "k"), await make(api, admin, "k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 1


async def test_a_quoted_key_is_the_bare_one(api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection):
    assert (await make(api, admin, "8e03978e")).content == (await make(api, admin, '"8e03978e"')).content
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 1


async def test_another_body_or_path_is_refused(api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection):
    assert (await make(api, admin, "k")).status_code == 201
    other_body = await make(api, admin, "k", name="Other")
    other_path = await api.post("/patients", json={"name": "Harbour Clinic"}, headers=keyed(admin, "k"))
    for answer in (other_body, other_path):
        assert (answer.status_code, answer.json()["error_code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert await owner.fetchval("SELECT (SELECT count(*) FROM clinics), (SELECT count(*) FROM patients)") == 1


async def test_another_caller_has_his_own_keys(api: httpx.AsyncClient, admin: Person, world: World):
    first, second = await make(api, admin, "k"), await make(api, await world.admin(), "k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


async def test_an_answer_that_a_version_before_has_kept_is_told_but_not_shown(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """It was the body alone, and bound to the key alone."""
    with monkeypatch.context() as before:
        before.setattr(idempotency, "_FORM", b"")
        assert (await make(api, admin, "k")).status_code == 201
    again = await make(api, admin, "k")
    assert (again.status_code, again.json()["error_code"]) == (409, "CONFLICT")
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 1


async def test_a_day_later_the_key_is_free(api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection):
    first = await make(api, admin, "k")
    move = "UPDATE idempotency_keys SET created_at = now() - interval '24 hours' + $1::interval"
    await owner.execute(move, timedelta(minutes=1))
    assert (await make(api, admin, "k")).content == first.content
    await owner.execute(move, timedelta(0))
    later = await make(api, admin, "k", name="Another")
    assert (later.status_code, later.json()["name"]) == (201, "Another")
    assert (await make(api, admin, "k", name="Another")).content == later.content
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 1


async def test_errors_are_not_kept(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient, other = await world.doctor(), await world.patient(), await world.patient()
    slot = await world.slot(doctor)
    held = await world.appointment(other, doctor, slot)

    async def book() -> httpx.Response:
        body = booking(patient, doctor, slot)
        return await api.post("/appointments/book", json=body, headers=keyed(patient, "k"))

    assert (await book()).json()["error_code"] == "SLOT_UNAVAILABLE"
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    await owner.execute("UPDATE appointments SET status = 'cancelled' WHERE id = $1", held)
    booked = await book()
    assert booked.status_code == 201
    assert (await book()).content == booked.content


async def test_nothing_stands_in_the_table_in_the_clear(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    body = {"name": "Ada Lovelace", "email": "ada@example.org", "mobile_no": "5550100", "allergies": "Penicillin"}
    answer = await api.post("/patients", json=body, headers=keyed(admin, "key-of-ada"))
    assert answer.status_code == 201
    row = await owner.fetchrow("SELECT * FROM idempotency_keys")
    stored = b" ".join(v if isinstance(v, bytes) else str(v).encode() for v in row.values()).lower()
    for word in (*body.values(), "key-of-ada", "lovelace", "allergies"):
        assert word.lower().encode() not in stored
    # the same answer twice is not the same ciphertext, and the same request under two keys not the same hash
    await api.post("/patients", json=body | {"email": None}, headers=keyed(admin, "2"))
    await api.post("/patients", json=body | {"email": None}, headers=keyed(admin, "3"))
    distinct = (
        "SELECT count(DISTINCT answer), count(DISTINCT request_hash), count(DISTINCT key_hash) FROM idempotency_keys"
    )
    assert tuple(await owner.fetchrow(distinct)) == (3, 3, 3)


@pytest.fixture
def changed_secret(app: FastAPI) -> Iterator[Tokens]:
    """The way back to the tokens of before, once the test has put these in their place."""
    before = app.state.tokens
    yield Tokens((b"another secret, of 32 bytes at least",), before.lifetime)
    app.state.tokens = before


async def test_after_a_change_of_the_secret_the_effect_is_told_but_not_the_answer(
    api: httpx.AsyncClient, admin: Person, app: FastAPI, owner: asyncpg.Connection, changed_secret: Tokens
):
    assert (await make(api, admin, "k")).status_code == 201
    app.state.tokens = changed_secret
    signed = await World(owner, changed_secret).sign_in(admin.user_id, "admin")
    answer = await api.post("/clinics", json={"name": "Harbour Clinic"}, headers=signed | {"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["error_code"]) == (409, "CONFLICT")
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 1


BAD_KEYS: list[Any] = ["", '""', "k" * 256, "k\tk", "ключ".encode(), b"\xff", "k\x7f"]


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
async def test_a_bad_key_is_refused_by_name(
    key: str | bytes, api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    raw = key if isinstance(key, bytes) else key.encode()
    headers = [(k.encode(), v.encode()) for k, v in admin.headers.items()] + [(b"Idempotency-Key", raw)]
    answer = await api.post("/clinics", json={"name": "Any"}, headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await owner.fetchval("SELECT count(*) FROM clinics") == 0


async def test_two_keys_are_refused(api: httpx.AsyncClient, admin: Person):
    headers = [*admin.headers.items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    assert (await api.post("/clinics", json={"name": "Any"}, headers=headers)).status_code == 400


async def test_the_longest_key_is_taken(api: httpx.AsyncClient, admin: Person):
    key = "~ !" * 85
    assert len(key) == 255
    first = await make(api, admin, f'"{key}"')
    assert (await make(api, admin, f'"{key}"')).content == first.content


async def test_the_key_does_not_open_the_door(
    api: httpx.AsyncClient, admin: Person, world: World, owner: asyncpg.Connection
):
    assert (await make(api, admin, "k")).status_code == 201
    await owner.execute("UPDATE users SET role = 'patient'")
    demoted = replace(admin, headers=await world.sign_in(admin.user_id, "patient"))
    assert (await make(api, demoted, "k")).status_code == 403
    await owner.execute("UPDATE users SET is_active = false")
    assert (await make(api, demoted, "k")).status_code == 401


async def test_register_and_login_do_not_know_keys(api: httpx.AsyncClient, owner: asyncpg.Connection):
    headers = {"Idempotency-Key": "k"}
    assert (await api.post("/auth/register", json=REGISTRATION, headers=headers)).status_code == 200
    again = await api.post("/auth/register", json=REGISTRATION, headers=headers)
    assert again.json()["error_code"] == "EMAIL_ALREADY_REGISTERED"
    credentials = {"email": REGISTRATION["email"], "password": REGISTRATION["password"]}
    tokens = {(await api.post("/auth/login", json=credentials, headers=headers)).json()["access_token"] for _ in "ab"}
    assert len(tokens) == 2
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0


async def test_an_administrators_registrations_do_not_know_keys_either(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    body = REGISTRATION | {"role": "staff"}
    assert (await api.post("/auth/register", json=body, headers=keyed(admin, "k"))).status_code == 200
    # a token in the table would let whoever reads it and knows the secret sign in as somebody else
    assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 0
