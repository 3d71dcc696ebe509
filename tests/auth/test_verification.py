"""Whose an e-mail address is: shown by a link that is mailed to it, and what stays shut until then."""

import asyncpg
import httpx
from fastapi import FastAPI

from health_services.auth.schemas import UserRegister
from health_services.auth.service import create_account
from health_services.limits.limiter import Limiter
from tests.api.answers import digest, refusal
from tests.auth.post import Post
from tests.factories import World
from tests.sessions.visitors import PASSWORD, Visitor, configured

PAGE = "verify-email"


async def verify(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post("/auth/email/verify", json={"token": token})


async def is_verified(visitor: Visitor) -> bool:
    return bool((await visitor.act("GET", "/auth/profile")).json()["is_verified"])


async def test_the_whole_way(ada: Visitor, api: httpx.AsyncClient, post: Post, owner: asyncpg.Connection):
    assert not await is_verified(ada)
    (mail,) = await post.sent()
    assert (mail.to, mail.subject) == (ada.email, "Please confirm your e-mail address")
    assert "Ada" not in mail.text, "anybody can register a stranger's address under any name"
    assert mail.headers == {}
    token = mail.text.partition("#token=")[2][:43]
    done = await verify(api, token)
    assert (done.status_code, done.content) == (204, b"")
    assert await is_verified(ada)
    assert await ada.is_in(), "it ends no session"
    before = await digest(owner)
    refusal(await verify(api, token), "VALIDATION_ERROR", "token")
    assert await digest(owner) == before


async def test_any_other_token_is_refused_alike(api: httpx.AsyncClient, ada: Visitor, post: Post):
    """cal.diy PR #22542: nobody learns from the answer whose address is what."""
    await post.sent()
    await api.post("/auth/password/forgot", json={"email": ada.email})
    of_another_purpose = await post.token("reset-password")
    answers = [await verify(api, token) for token in ("no", "0" * 43, of_another_purpose, ada.access[:200])]
    bodies = [refusal(answer, "VALIDATION_ERROR", "token") | {"timestamp": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert not await is_verified(ada)


async def test_it_lives_for_a_day(ada: Visitor, api: httpx.AsyncClient, post: Post, owner: asyncpg.Connection):
    token = await post.token(PAGE)
    query = "SELECT extract(epoch FROM expires_at - created_at)::int / 60 FROM one_time_tokens"
    assert await owner.fetchval(query) in {24 * 60 - 1, 24 * 60}
    await owner.execute("UPDATE one_time_tokens SET expires_at = now()")
    refusal(await verify(api, token), "VALIDATION_ERROR", "token")
    assert not await is_verified(ada)


async def test_a_closed_account_is_not_verified(
    ada: Visitor, api: httpx.AsyncClient, post: Post, owner: asyncpg.Connection
):
    token = await post.token(PAGE)
    await owner.execute("UPDATE users SET is_active = false")
    refusal(await verify(api, token), "VALIDATION_ERROR", "token")
    assert not await owner.fetchval("SELECT is_verified FROM users")


async def test_another_link_ends_the_one_before(ada: Visitor, api: httpx.AsyncClient, post: Post):
    first = await post.token(PAGE)
    asked = await ada.act("POST", "/auth/email/verification")
    assert (asked.status_code, asked.content) == (202, b"")
    second = await post.token(PAGE)
    refusal(await verify(api, first), "VALIDATION_ERROR", "token")
    assert (await verify(api, second)).status_code == 204
    assert (await ada.act("POST", "/auth/email/verification")).status_code == 202
    assert await post.sent() == [], "there is nothing left to verify"


async def test_the_link_to_an_address_of_before_ends(
    ada: Visitor, api: httpx.AsyncClient, post: Post, owner: asyncpg.Connection
):
    earlier = await post.token(PAGE)
    moved = await ada.act("PUT", "/users/me", {"email": "new@example.org"})
    assert moved.status_code == 200, moved.text
    refusal(await verify(api, earlier), "VALIDATION_ERROR", "token")
    mails = await post.sent()
    assert {mail.to for mail in mails} == {"ada@example.org", "new@example.org"}
    (notice,) = [mail for mail in mails if mail.to == "ada@example.org"]
    assert "The e-mail address of your account has been changed." in notice.text
    assert "ada@example.org" not in str(await owner.fetch("SELECT * FROM notifications"))
    (to_new,) = [mail for mail in mails if mail.to == "new@example.org"]
    assert (await verify(api, to_new.text.partition("#token=")[2][:43])).status_code == 204


async def test_a_few_mails_an_hour(ada: Visitor, post: Post, limiter: Limiter):
    assert limiter
    await post.sent()
    answers = [await ada.act("POST", "/auth/email/verification") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    refused = refusal(answers[-1], "RATE_LIMITED")
    assert refused
    assert int(answers[-1].headers["retry-after"]) > 60
    assert len(await post.links()) == 3


async def test_an_unverified_account_reaches_nothing_personal_where_that_is_asked(
    ada: Visitor, api: httpx.AsyncClient, world: World, app: FastAPI, post: Post, owner: asyncpg.Connection
):
    """OpenEMR 2018: half a registration opens no page."""
    patient_id = ada.user["patient_id"]
    record = f"/patients/{patient_id}"
    shut = [("GET", record), ("PUT", record), ("GET", f"{record}/appointments"), ("GET", "/users/me/preferences")]
    with configured(app, require_verified_email=True):
        for method, path in shut:
            refusal(await ada.act(method, path, {} if method == "PUT" else None), "AUTHORIZATION_ERROR")
        for path in ("/auth/profile", "/auth/sessions"):
            assert (await ada.act("GET", path)).status_code == 200
        assert (await ada.act("POST", "/auth/email/verification")).status_code == 202
        assert (await ada.act("POST", "/auth/reauthenticate", {"password": PASSWORD})).status_code == 204
        *_, (_, _, token) = await post.links()
        assert (await verify(api, token)).status_code == 204
        for method, path in shut:
            assert (await ada.act(method, path, {} if method == "PUT" else None)).status_code == 200
    stranger = await Visitor(api, "eve@example.org").register()
    own = f"/patients/{stranger.user['patient_id']}"
    assert (await stranger.act("GET", own)).status_code == 200, "by default nobody asks"


async def test_an_account_that_the_operator_made_is_verified(app: FastAPI, owner: asyncpg.Connection):
    request = UserRegister(name="Root", email="root@example.org", password=PASSWORD, role="admin")
    async with app.state.worker_database.writing() as session, session.begin():
        await create_account(session, app.state.gate.passwords, request)
    assert await owner.fetchval("SELECT is_verified FROM users WHERE email = 'root@example.org'")
