"""Refreshing: each token is used once, a lost answer costs nobody his session, and a stolen token ends it."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
from fastapi import FastAPI

from health_services.access.service import key_hash
from health_services.sessions.service import GRACE
from tests.api.answers import digest, instant, refusal
from tests.factories import World
from tests.sessions.visitors import SAFARI, Visitor, ended, notices, pass_time

OVER = GRACE + timedelta(seconds=1)


async def test_each_token_gives_the_next(ada: Visitor, owner: asyncpg.Connection):
    seen = {ada.refresh}
    for _ in range(5):
        before = ada.access
        ada.take(await ada.renew())
        assert ada.refresh not in seen
        assert ada.access != before
        seen.add(ada.refresh)
        assert await ada.is_in()
    assert await owner.fetchval("SELECT count(*) FROM sessions") == 1
    assert await owner.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == 1
    assert await ended(owner) == [None]


async def test_the_answer_is_that_of_a_login(ada: Visitor):
    answer = await ada.renew()
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "csrf_token", "user"}
    assert (body["token_type"], body["expires_in"], body["csrf_token"]) == ("bearer", 900, None)
    assert body["user"] == (await ada.act("GET", "/auth/profile")).json()
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


async def test_no_token_stands_in_the_database(ada: Visitor, owner: asyncpg.Connection):
    first = ada.refresh
    ada.take(await ada.renew())
    rows = await owner.fetch("SELECT * FROM refresh_tokens ORDER BY created_at")
    assert [row["token_hash"] for row in rows] == [key_hash(first), key_hash(ada.refresh)]
    kept = b"".join(row["token_hash"] + (row["successor"] or b"") for row in rows)
    for token in (first, ada.refresh):
        assert token.removeprefix("hsr_").encode() not in kept


async def test_who_lost_the_answer_gets_the_same_token_again(ada: Visitor, owner: asyncpg.Connection):
    lost = ada.refresh
    first = (await ada.renew()).json()["refresh_token"]
    for _ in range(3):
        again = await ada.renew(lost)
        assert again.json()["refresh_token"] == first
    ada.take(again)
    assert await ada.is_in()
    ada.take(await ada.renew())
    assert await ended(owner) == [None]
    assert await notices(owner) == []


async def test_who_is_two_answers_behind_gets_the_last_token(ada: Visitor, owner: asyncpg.Connection):
    """Or he would come back later with one that was used by then, and end his own session."""
    lost = ada.refresh
    for _ in range(3):
        ada.take(await ada.renew())
    assert (await ada.renew(lost)).json()["refresh_token"] == ada.refresh
    await pass_time(owner, OVER)
    ada.take(await ada.renew())
    assert await ended(owner) == [None]


async def test_a_token_that_is_used_again_later_ends_the_session(ada: Visitor, owner: asyncpg.Connection):
    other = await ada.elsewhere()
    stolen = ada.refresh
    ada.take(await ada.renew())
    await pass_time(owner, OVER)
    refusal(await ada.renew(stolen), "AUTHENTICATION_ERROR")
    assert await ended(owner) == ["refresh token used twice", None]
    assert await ada.is_out()
    assert await other.is_in(), "the person's other sessions are other families"
    assert await notices(owner) == ["refresh_token_reused"]
    refusal(await ada.renew(stolen), "AUTHENTICATION_ERROR")
    assert await notices(owner) == ["refresh_token_reused"], "told once"
    audited = await owner.fetch("SELECT outcome, status FROM audit_log WHERE action = 'refresh' ORDER BY id")
    assert [tuple(row) for row in audited] == [("success", 200)] + [("refused", 401)] * 3


async def test_another_program_has_no_grace(ada: Visitor, owner: asyncpg.Connection):
    """Who uses a token a moment after its owner did, with another program, has not lost an answer."""
    thief = Visitor(ada.api, ada.email, SAFARI, refresh=ada.refresh)
    ada.take(await ada.renew())
    refusal(await thief.renew(), "AUTHENTICATION_ERROR")
    assert await ended(owner) == ["refresh token used twice"]
    assert await ada.is_out()


async def test_a_thief_who_was_first_is_found_out(ada: Visitor, owner: asyncpg.Connection):
    thief = Visitor(ada.api, ada.email, ada.agent, refresh=ada.refresh)
    thief.take(await thief.renew())
    await pass_time(owner, OVER)
    refusal(await ada.renew(), "AUTHENTICATION_ERROR")
    assert await thief.is_out()


async def test_a_thief_within_the_grace_is_found_out_at_the_next_refresh(ada: Visitor, owner: asyncpg.Connection):
    thief = Visitor(ada.api, ada.email, ada.agent, refresh=ada.refresh)
    ada.take(await ada.renew())
    thief.take(await thief.renew())
    assert thief.refresh == ada.refresh
    ada.take(await ada.renew())
    await pass_time(owner, OVER)
    refusal(await thief.renew(), "AUTHENTICATION_ERROR")
    assert await ended(owner) == ["refresh token used twice"]


async def test_any_other_token_is_refused_and_ends_nothing(ada: Visitor, owner: asyncpg.Connection):
    before = await digest(owner)
    for token in (
        "no",
        "hsr_",
        ada.refresh[:-1],
        ada.refresh + "x",
        ada.refresh.swapcase(),
        ada.access[:200],
        "é",
        " ",
    ):
        refusal(await ada.renew(token), "AUTHENTICATION_ERROR")
    assert await digest(owner) == before
    assert await ada.is_in()


async def test_it_lives_for_refresh_token_days_from_its_last_use(ada: Visitor, owner: asyncpg.Connection, app: FastAPI):
    days = timedelta(days=app.state.settings.refresh_token_days)
    await pass_time(owner, days - timedelta(minutes=1))
    ada.take(await ada.renew())
    await pass_time(owner, days - timedelta(minutes=1))
    ada.take(await ada.renew())
    await pass_time(owner, days)
    refusal(await ada.renew(), "AUTHENTICATION_ERROR")
    assert await ended(owner) == [None], "too late is no theft"


async def test_it_lives_for_session_days_at_most(ada: Visitor, owner: asyncpg.Connection, app: FastAPI):
    longest = timedelta(days=app.state.settings.session_days)
    await pass_time(owner, longest - timedelta(minutes=5))
    await owner.execute("UPDATE refresh_tokens SET expires_at = now() + interval '1 day'")
    ada.take(await ada.renew())
    assert await ada.is_in()
    ends_at = await owner.fetchval("SELECT expires_at FROM sessions")
    assert await owner.fetchval("SELECT max(expires_at) FROM refresh_tokens WHERE used_at IS NULL") == ends_at
    await pass_time(owner, timedelta(minutes=5))
    assert await ada.is_out()


async def test_what_a_refresh_tells_of_the_session(ada: Visitor, owner: asyncpg.Connection):
    await pass_time(owner, timedelta(days=1))
    before = datetime.now(UTC)
    ada.agent = SAFARI
    ada.take(await ada.renew())
    (session,) = (await ada.act("GET", "/auth/sessions")).json()
    assert session["client"] == "Safari on iPhone"
    assert instant(session["last_used_at"]) >= before > instant(session["created_at"]) + timedelta(hours=23)
    proved = await owner.fetchval("SELECT authenticated_at FROM sessions")
    assert proved < before - timedelta(hours=23), "a token is no proof of who holds it"


async def test_an_account_that_is_closed_refreshes_no_more(ada: Visitor, owner: asyncpg.Connection):
    await owner.execute("ALTER TABLE users DISABLE TRIGGER users_end_sessions")
    try:
        await owner.execute("UPDATE users SET is_active = false")
    finally:
        await owner.execute("ALTER TABLE users ENABLE TRIGGER users_end_sessions")
    assert await ended(owner) == [None]
    refusal(await ada.renew(), "AUTHENTICATION_ERROR")


async def test_a_session_that_another_makes_is_no_part_of_the_family(
    api: httpx.AsyncClient, ada: Visitor, world: World, owner: asyncpg.Connection
):
    """Cal.com CVE-2026-23478: whatever is sent along with a refresh changes nothing about who it is for."""
    admin = await world.admin()
    before = await digest(owner)
    for more in ({"email": admin.email}, {"sub": admin.user_id}, {"role": "admin"}, {"user_id": admin.user_id}):
        answer = await ada.post("/auth/refresh", {"refresh_token": ada.refresh, **more})
        refusal(answer, "VALIDATION_ERROR", *more)
    assert await digest(owner) == before
    body = {"refresh_token": ada.refresh}
    renewed = await api.post("/auth/refresh", json=body, headers={**admin.headers, "User-Agent": ada.agent})
    assert renewed.json()["user"]["email"] == ada.email
