"""A forgotten password, a changed one: who gets in by it, who is told, and what it ends."""

import asyncio

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.access.service import key_hash
from health_services.limits.limiter import Limiter
from tests.api.answers import digest, refusal
from tests.auth.post import Post
from tests.factories import World
from tests.sessions.visitors import PASSWORD, Visitor, ended, notices

NEW = "four green kettles"
PAGE = "reset-password"


async def forgot(api: httpx.AsyncClient, email: str = "ada@example.org") -> httpx.Response:
    return await api.post("/auth/password/forgot", json={"email": email})


async def reset(api: httpx.AsyncClient, token: str, password: str = NEW) -> httpx.Response:
    return await api.post("/auth/password/reset", json={"token": token, "new_password": password})


@pytest.fixture
async def token(api: httpx.AsyncClient, ada: Visitor, post: Post) -> str:
    """Of the link that Ada asked for."""
    assert ada.access
    await post.sent()
    assert (await forgot(api)).status_code == 202
    return await post.token(PAGE)


async def test_the_whole_way(ada: Visitor, token: str, api: httpx.AsyncClient, post: Post, owner: asyncpg.Connection):
    done = await reset(api, token)
    assert (done.status_code, done.content) == (204, b"")
    assert "set-cookie" not in done.headers
    assert await ended(owner) == ["password changed"], "nobody is signed in by it"
    assert await ada.is_out()
    refusal(await ada.login(PASSWORD), "AUTHENTICATION_ERROR")
    assert await (await ada.sign_in(NEW)).is_in()
    assert ada.user["is_verified"], "the mail has reached her"
    (notice,) = await post.sent()
    assert notice.to == ada.email
    assert "The password of your account has been changed." in notice.text
    assert "List-Unsubscribe" not in notice.headers


async def test_a_token_works_once(token: str, api: httpx.AsyncClient, owner: asyncpg.Connection):
    assert (await reset(api, token)).status_code == 204
    before = await digest(owner)
    refusal(await reset(api, token, "five red ladders"), "VALIDATION_ERROR", "token")
    assert await digest(owner) == before


async def test_of_two_at_once_one_works(token: str, api: httpx.AsyncClient):
    answers = await asyncio.gather(*(reset(api, token, f"{NEW} {n}") for n in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400, 400]


async def test_a_refused_password_does_not_use_it_up(token: str, api: httpx.AsyncClient, owner: asyncpg.Connection):
    before = await digest(owner)
    for bad in ("password1", "Ada Wong", "ADA@example.org", "short", "x" * 129):
        refusal(await reset(api, token, bad), "VALIDATION_ERROR", "new_password")
    assert await digest(owner) == before
    assert (await reset(api, token)).status_code == 204


async def test_the_token_is_judged_before_the_password(ada: Visitor, api: httpx.AsyncClient):
    """What is common is no secret; what is the owner's name or address would tell who he is."""
    for bad in ("password1", "Ada Wong", NEW):
        refusal(await reset(api, "no", bad), "VALIDATION_ERROR", "token")


async def test_it_lives_for_half_an_hour(token: str, api: httpx.AsyncClient, owner: asyncpg.Connection):
    lifetime = await owner.fetchval(
        "SELECT expires_at - created_at FROM one_time_tokens WHERE purpose = 'password_reset'"
    )
    assert 29 * 60 < lifetime.total_seconds() <= 30 * 60
    await owner.execute("UPDATE one_time_tokens SET expires_at = now()")
    refusal(await reset(api, token), "VALIDATION_ERROR", "token")


async def test_the_last_link_counts(ada: Visitor, token: str, api: httpx.AsyncClient, post: Post):
    await forgot(api)
    newer = await post.token(PAGE)
    refusal(await reset(api, token), "VALIDATION_ERROR", "token")
    assert (await reset(api, newer)).status_code == 204


async def test_a_change_ends_links_too(ada: Visitor, token: str, api: httpx.AsyncClient, owner: asyncpg.Connection):
    await owner.execute("UPDATE users SET password_hash = 'another'")
    refusal(await reset(api, token), "VALIDATION_ERROR", "token")


@pytest.mark.parametrize("made", ["UPDATE users SET is_active = false", "DELETE FROM one_time_tokens"])
async def test_an_account_that_is_closed_cannot_be_opened(
    token: str, api: httpx.AsyncClient, owner: asyncpg.Connection, made: str
):
    await owner.execute(made)
    refusal(await reset(api, token), "VALIDATION_ERROR", "token")


async def test_a_token_of_another_purpose_is_none(api: httpx.AsyncClient, ada: Visitor, post: Post):
    assert ada.access
    verification = await post.token("verify-email")
    refusal(await reset(api, verification), "VALIDATION_ERROR", "token")
    assert (await api.post("/auth/email/verify", json={"token": verification})).status_code == 204


async def test_who_has_no_password_is_mailed_none(
    api: httpx.AsyncClient, world: World, post: Post, owner: asyncpg.Connection
):
    """LatePoint: whom reception has entered is let in by an invitation, not by whoever knows an address."""
    await world.patient(user={"email": "entered@example.org", "password_hash": None})
    await world.user(email="closed@example.org", is_active=False)
    for email in ("entered@example.org", "closed@example.org", "unknown@example.org"):
        assert (await forgot(api, email)).status_code == 202
    assert await post.links() == []
    assert await owner.fetchval("SELECT count(*) FROM one_time_tokens") == 0


async def test_the_token_stands_nowhere_in_the_clear(
    api: httpx.AsyncClient, ada: Visitor, post: Post, owner: asyncpg.Connection
):
    await post.sent()
    await forgot(api)
    kept = "SELECT data::text FROM notifications WHERE kind = 'password_reset'"
    waiting = await owner.fetchval(kept)
    assert "enclosed" in waiting
    token = await post.token(PAGE)
    assert token not in waiting
    assert "enclosed" not in await owner.fetchval(kept)
    assert await owner.fetchval("SELECT count(*) FROM one_time_tokens WHERE token_hash = $1", key_hash(token)) == 1
    everything = await owner.fetch("SELECT t::text AS row FROM audit_log t UNION ALL SELECT t::text FROM users t")
    assert not [row for row in everything if token in row["row"]]


async def test_too_many_requests_are_dropped_in_silence(
    api: httpx.AsyncClient, ada: Visitor, post: Post, limiter: Limiter
):
    """PHPJabbers CVE-2023-51293: three mails for one target, twenty from one address, and 202 all the same."""
    assert ada.access
    await post.sent()
    for _ in range(10):
        assert (await forgot(api)).status_code == 202
    assert len(await post.links()) == 3
    for number in range(30):
        answer = await forgot(api, f"person{number}@example.org")
        assert (answer.status_code, answer.content) == (202, b"")
    other = await Visitor(api, "grace@example.org").register()
    await post.sent()
    assert (await forgot(api, other.email)).status_code == 202
    assert await post.links() == [], "this address has asked too often"


async def test_what_is_dropped_ends_no_link(api: httpx.AsyncClient, ada: Visitor, post: Post, limiter: Limiter):
    for _ in range(3):
        await forgot(api)
    *_, (_, _, last) = await post.links()
    await forgot(api)
    assert (await reset(api, last)).status_code == 204


async def change(visitor: Visitor, current: str = PASSWORD, new: str = NEW) -> httpx.Response:
    body = {"current_password": current, "new_password": new}
    return await visitor.act("POST", "/auth/password/change", body)


async def test_changing_it_ends_every_session(ada: Visitor, post: Post, owner: asyncpg.Connection):
    other = await ada.elsewhere()
    await post.sent()
    done = await change(ada)
    assert done.status_code == 204
    assert done.headers["clear-site-data"] == '"cookies", "storage"'
    for visitor in (ada, other):
        assert await visitor.is_out()
    assert set(await ended(owner)) == {"password changed"}
    refusal(await ada.login(PASSWORD), "AUTHENTICATION_ERROR")
    await ada.sign_in(NEW)
    (mail,) = await post.sent()
    assert "The password of your account has been changed." in mail.text


async def test_it_needs_the_current_one(ada: Visitor, owner: asyncpg.Connection):
    before = await digest(owner)
    for wrong in ("x", PASSWORD.upper(), NEW):
        refusal(await change(ada, current=wrong), "AUTHORIZATION_ERROR")
    for bad in ("password1", "Ada Wong", "ada@example.org", "ada", "short", "x" * 129):
        refusal(await change(ada, new=bad), "VALIDATION_ERROR", "new_password")
    assert await digest(owner) == before
    assert await ada.is_in()


async def test_of_two_changes_at_once_one_counts(ada: Visitor, owner: asyncpg.Connection, app: FastAPI):
    answers = await asyncio.gather(*(change(ada, new=f"{NEW} {n}") for n in range(3)))
    assert [answer.status_code for answer in answers].count(204) == 1
    assert {answer.status_code for answer in answers} <= {204, 401, 403}
    winner = [answer.status_code for answer in answers].index(204)
    await ada.sign_in(f"{NEW} {winner}")
    assert await notices(owner) == ["password_changed"]


async def test_a_change_does_not_undo_one_that_came_first(
    ada: Visitor, owner: asyncpg.Connection, as_app: asyncpg.Connection
):
    """A reset, say, by the owner, while a thief who knows the old password changes it."""
    async with owner.transaction():
        await owner.execute("UPDATE users SET password_hash = 'another'")
        changing = asyncio.create_task(change(ada))
        while not await as_app.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    refusal(await changing, "AUTHORIZATION_ERROR")
    assert await owner.fetchval("SELECT password_hash FROM users") == "another"
    assert await notices(owner) == []


async def test_no_api_key_changes_it(ada: Visitor, owner: asyncpg.Connection):
    secret = "s" * 43
    await owner.execute(
        """INSERT INTO api_keys (user_id, name, prefix, secret_hash, scopes)
           SELECT id, 'all', 'abcdefghijkl', $1, '{auth:*,auth:password,auth:sessions,users:me}' FROM users""",
        key_hash(secret),
    )
    headers = {"X-API-Key": f"hs_abcdefghijkl_{secret}"}
    body = {"current_password": PASSWORD, "new_password": NEW}
    for method, path, sent in (
        ("POST", "/auth/password/change", body),
        ("POST", "/auth/reauthenticate", {"password": PASSWORD}),
        ("POST", "/auth/logout-all", None),
        ("GET", "/auth/sessions", None),
        ("POST", "/auth/email/verification", None),
    ):
        answer = await ada.api.request(method, path, json=sent, headers=headers)
        refusal(answer, "AUTHORIZATION_ERROR")
    assert await ada.is_in()
