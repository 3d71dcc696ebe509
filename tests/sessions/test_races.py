"""Several at once, truly: two tabs, an answer that comes late, an end in the middle; two servers on one database."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.main import create_app
from tests.sessions.test_refreshing import OVER
from tests.sessions.visitors import Visitor, ended, notices, pass_time

AT_ONCE = 8


async def warm(app: FastAPI) -> None:
    """Open the pool's connections, so that requests really meet in the database."""
    connections = [await app.state.database.engine.connect() for _ in range(AT_ONCE)]
    for connection in connections:
        await connection.close()


async def test_two_tabs_at_once_get_the_same_token(ada: Visitor, app: FastAPI, owner: asyncpg.Connection):
    await warm(app)
    for _ in range(10):
        answers = await asyncio.gather(*(ada.renew() for _ in range(AT_ONCE)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert await owner.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == 1
        ada.take(answers[0])
    assert await ended(owner) == [None]
    assert await notices(owner) == []
    assert await owner.fetchval("SELECT count(*) FROM refresh_tokens") == 11


async def test_of_a_stolen_token_used_many_times_at_once_nothing_survives(
    ada: Visitor, app: FastAPI, owner: asyncpg.Connection
):
    await warm(app)
    stolen = ada.refresh
    ada.take(await ada.renew())
    await pass_time(owner, OVER)
    answers = await asyncio.gather(*(ada.renew(stolen) for _ in range(AT_ONCE)), ada.renew())
    assert {answer.status_code for answer in answers[:-1]} == {401}
    if answers[-1].status_code == 200:  # it was the first
        ada.take(answers[-1])
    assert await ada.is_out()
    assert await ended(owner) == ["refresh token used twice"]
    assert await notices(owner) == ["refresh_token_reused"]


async def test_signing_out_while_refreshing_leaves_nothing(ada: Visitor, app: FastAPI, owner: asyncpg.Connection):
    await warm(app)
    for _ in range(5):
        visitor = await ada.elsewhere()
        out = visitor.post("/auth/logout", {"refresh_token": visitor.refresh})
        renewed, left = await asyncio.gather(visitor.renew(), out)
        assert left.status_code == 204
        if renewed.status_code == 200:
            visitor.take(renewed)
        assert await visitor.is_out()
    assert await ended(owner) == [None] + ["signed out"] * 5


async def test_a_password_change_while_refreshing_leaves_nothing(ada: Visitor, app: FastAPI, owner: asyncpg.Connection):
    await warm(app)
    for number in range(5):
        change = owner.execute("UPDATE users SET password_hash = $1", f"another {number}")
        visitor = Visitor(ada.api, ada.email, refresh=ada.refresh)
        renewed, *_ = await asyncio.gather(visitor.renew(), change)
        if renewed.status_code == 200:
            visitor.take(renewed)
        assert (await visitor.renew()).status_code == 401
        await owner.execute("UPDATE sessions SET ended_at = NULL, ended_reason = NULL")
        await owner.execute("UPDATE refresh_tokens SET used_at = NULL, successor = NULL")


@pytest.fixture
async def neighbour(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a second server on the same database."""
    other = create_app(app.state.settings)
    async with other.router.lifespan_context(other):
        transport = httpx.ASGITransport(other, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
            yield client


ENDINGS = {
    "password": "UPDATE users SET password_hash = 'another'",
    "role": "UPDATE users SET role = 'doctor'",
    "activity": "UPDATE users SET is_active = false",
    "the session itself": "UPDATE sessions SET ended_at = now(), ended_reason = 'by hand'",
}


@pytest.mark.parametrize("what", ENDINGS)
async def test_what_ends_sessions_ends_them_in_every_server_at_once(
    ada: Visitor, neighbour: httpx.AsyncClient, owner: asyncpg.Connection, what: str
):
    there = Visitor(neighbour, ada.email, access=ada.access, refresh=ada.refresh)
    second = await Visitor(neighbour, ada.email).sign_in()
    for visitor in (ada, there, second):
        assert await visitor.is_in()
    await owner.execute(ENDINGS[what])
    for visitor in (there, second, ada):
        assert await visitor.is_out()
    assert None not in await ended(owner)


async def test_another_server_refreshes_what_this_one_began(
    ada: Visitor, neighbour: httpx.AsyncClient, owner: asyncpg.Connection
):
    there = Visitor(neighbour, ada.email, refresh=ada.refresh)
    here, elsewhere = await asyncio.gather(ada.renew(), there.renew())
    assert here.json()["refresh_token"] == elsewhere.json()["refresh_token"]
    there.take(elsewhere)
    assert await there.is_in()
    left = await ada.post("/auth/logout", {"refresh_token": there.refresh})
    assert left.status_code == 204
    assert await there.is_out()
    assert await ended(owner) == ["signed out"]


async def test_a_new_hash_of_the_same_password_ends_nothing(ada: Visitor, owner: asyncpg.Connection):
    await owner.execute("BEGIN")
    await owner.execute("SELECT set_config('app.is_rehash', 'on', true)")
    await owner.execute("UPDATE users SET password_hash = 'the same, dearer'")
    await owner.execute("COMMIT")
    assert await ada.is_in()
    await owner.execute("UPDATE users SET name = 'Ada King'")
    assert await ada.is_in()
