"""Proving once more who one is: what it opens, for how long, and what it asks of whoever has a second factor."""

from datetime import timedelta

import asyncpg
import httpx
import pytest

from tests.api.answers import digest, refusal
from tests.factories import Person
from tests.second_factors.conftest import Factors
from tests.sessions.visitors import PASSWORD, Visitor, pass_time

FRESH = timedelta(minutes=10)


async def prove(visitor: Visitor, password: str = PASSWORD, **more: str) -> httpx.Response:
    return await visitor.act("POST", "/auth/reauthenticate", {"password": password, **more})


async def test_it_opens_for_ten_minutes_what_needs_a_fresh_proof(ada: Visitor, owner: asyncpg.Connection):
    other = await ada.elsewhere()
    await pass_time(owner, FRESH + timedelta(seconds=1))
    begin = ("POST", "/auth/mfa/totp")
    refusal(await ada.act(*begin), "REAUTHENTICATION_REQUIRED")
    done = await prove(ada)
    assert (done.status_code, done.content) == (204, b"")
    assert (await ada.act(*begin)).status_code == 200
    refusal(await other.act(*begin), "REAUTHENTICATION_REQUIRED")
    await pass_time(owner, FRESH + timedelta(seconds=1))
    refusal(await ada.act(*begin), "REAUTHENTICATION_REQUIRED")


@pytest.mark.parametrize("password", ["x", PASSWORD.upper(), f"{PASSWORD} ", "wrong password"])
async def test_a_wrong_password_opens_nothing(ada: Visitor, owner: asyncpg.Connection, password: str):
    await pass_time(owner, FRESH)
    before = await digest(owner)
    refusal(await prove(ada, password), "AUTHORIZATION_ERROR")
    assert await digest(owner) == before
    assert await ada.is_in(), "and ends nothing"


async def test_refreshing_is_no_proof(ada: Visitor, owner: asyncpg.Connection):
    await pass_time(owner, FRESH + timedelta(seconds=1))
    ada.take(await ada.renew())
    refusal(await ada.act("POST", "/auth/mfa/totp"), "REAUTHENTICATION_REQUIRED")


async def test_who_has_a_second_factor_shows_it_too(
    ada: Visitor,
    factors: Factors,
    owner: asyncpg.Connection,
):
    secret, recovery_codes = await factors.totp(Person(ada.user["id"], ada.email, ada.headers))
    await owner.execute("UPDATE sessions SET authenticated_at = now() - interval '1 hour'")
    authenticated = "SELECT authenticated_at FROM sessions"
    before = await owner.fetchval(authenticated)
    refusal(await prove(ada), "VALIDATION_ERROR", "code")
    refusal(await prove(ada, code="000000"), "AUTHORIZATION_ERROR")
    refusal(await prove(ada, "wrong password", code=factors.clock.code(secret)), "AUTHORIZATION_ERROR")
    assert await owner.fetchval(authenticated) == before
    assert (await prove(ada, code=factors.clock.code(secret))).status_code == 204
    assert await owner.fetchval(authenticated) == factors.clock.now
    refusal(await prove(ada, code=factors.clock.code(secret)), "AUTHORIZATION_ERROR")
    assert (await prove(ada, code=recovery_codes[0])).status_code == 204
    refusal(await prove(ada, code=recovery_codes[0]), "AUTHORIZATION_ERROR")


async def test_neither_a_new_password_nor_a_lost_one_passes_the_second_factor(
    ada: Visitor,
    factors: Factors,
    api: httpx.AsyncClient,
    owner: asyncpg.Connection,
):
    await factors.totp(Person(ada.user["id"], ada.email, ada.headers))
    body = {"current_password": PASSWORD, "new_password": "four green kettles"}
    assert (await ada.act("POST", "/auth/password/change", body)).status_code == 204
    answer = await ada.login("four green kettles", refresh_in="cookie")
    assert answer.status_code == 200
    assert answer.json()["mfa_required"] is True
    assert "access_token" not in answer.json()
    assert "set-cookie" not in answer.headers
    assert await owner.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL") == 0
