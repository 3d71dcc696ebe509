"""Where somebody is signed in, and ending it: at once, access tokens included."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from tests.api.answers import digest, instant, next_page, refusal, shape
from tests.factories import World
from tests.sessions.visitors import SAFARI, Visitor, ended, pass_time

SESSION = {
    "id", "client", "address", "methods", "is_cookie", "is_current", "created_at", "last_used_at", "expires_at",
}  # fmt: skip


async def sessions_of(visitor: Visitor) -> list[dict[str, object]]:
    answer = await visitor.act("GET", "/auth/sessions")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, object]] = answer.json()
    return found


async def test_signing_out_ends_the_session_at_once(ada: Visitor, owner: asyncpg.Connection):
    other = await ada.elsewhere()
    left = await ada.post("/auth/logout", {"refresh_token": ada.refresh})
    assert (left.status_code, left.content) == (204, b"")
    assert left.headers["clear-site-data"] == '"cookies", "storage"'
    assert await ada.is_out()
    assert await other.is_in()
    assert await ended(owner) == ["signed out", None]
    row = await owner.fetchrow("SELECT user_id, outcome, via FROM audit_log WHERE action = 'logout'")
    assert tuple(row)[:2] == (ada.user["id"], "success")
    assert row["via"].startswith("session:")


async def test_signing_out_with_any_other_token_does_nothing(ada: Visitor, owner: asyncpg.Connection):
    await ada.elsewhere()
    assert (await ada.post("/auth/logout", {"refresh_token": ada.refresh})).status_code == 204
    before = await digest(owner)
    for token in ("no", "hsr_", ada.refresh, ada.access[:200], "é"):
        assert (await ada.post("/auth/logout", {"refresh_token": token})).status_code == 204
    assert await digest(owner) == before


async def test_a_token_that_was_used_or_has_expired_still_signs_out(ada: Visitor, owner: asyncpg.Connection):
    other, used = await ada.elsewhere(), ada.refresh
    ada.take(await ada.renew())
    await ada.post("/auth/logout", {"refresh_token": used})
    assert await ada.is_out()
    await owner.execute("UPDATE refresh_tokens SET expires_at = now()")
    await other.post("/auth/logout", {"refresh_token": other.refresh})
    assert await other.is_out()


async def test_signing_out_everywhere(ada: Visitor, world: World, owner: asyncpg.Connection):
    stranger = await world.user()
    others = [await ada.elsewhere() for _ in range(2)]
    left = await ada.act("POST", "/auth/logout-all")
    assert left.status_code == 204
    assert left.headers["clear-site-data"] == '"cookies", "storage"'
    for visitor in (ada, *others):
        assert await visitor.is_out()
    assert sorted(filter(None, await ended(owner))) == ["signed out everywhere"] * 3
    assert (await ada.api.get("/auth/profile", headers=stranger.headers)).status_code == 200
    assert await (await ada.sign_in()).is_in()


async def test_the_list_tells_where_one_is_signed_in(ada: Visitor, world: World, owner: asyncpg.Connection):
    await world.user()
    await pass_time(owner, timedelta(hours=1))
    phone = await ada.elsewhere(SAFARI)
    before = datetime.now(UTC)
    mine = await sessions_of(phone)
    assert [(one["client"], one["is_current"]) for one in mine] == [
        ("Safari on iPhone", True),
        ("Firefox on Linux", False),
    ]
    for one in mine:
        shape(one, SESSION)
        assert one["address"] == "127.0.0.1"
        assert (one["methods"], one["is_cookie"]) == (["pwd"], False)
    assert instant(str(mine[0]["created_at"])) > before - timedelta(minutes=1)
    assert instant(str(mine[0]["expires_at"])) > before + timedelta(days=89)
    assert [one["is_current"] for one in await sessions_of(ada)] == [False, True]
    await ada.post("/auth/logout", {"refresh_token": ada.refresh})
    assert [one["client"] for one in await sessions_of(phone)] == ["Safari on iPhone"]
    await owner.execute("INSERT INTO sessions (user_id, expires_at) SELECT id, now() FROM users")
    assert len(await sessions_of(phone)) == 1, "one that is over is none"


async def test_the_list_has_pages(ada: Visitor):
    for _ in range(3):
        await ada.elsewhere()
    first = await ada.act("GET", "/auth/sessions?limit=3")
    assert len(first.json()) == 3
    for address in ((next_page(first) or "").removeprefix("/api/v1"), "/auth/sessions?limit=3&skip=3"):
        second = await ada.act("GET", address)
        assert len({one["id"] for one in first.json() + second.json()}) == 4
        assert "link" not in second.headers


async def test_of_too_many_sessions_the_longest_unused_end(ada: Visitor, world: World, owner: asyncpg.Connection):
    stranger = await world.user()
    for user_id in (ada.user["id"], stranger.user_id):
        await owner.execute(
            "INSERT INTO sessions (user_id, expires_at) SELECT $1, now() + '1 day' FROM generate_series(1, 49)", user_id
        )
    # the first one of all, and the only one that is used
    await owner.execute(
        "UPDATE sessions SET last_used_at = now() + interval '1 minute' WHERE user_id = $1 AND client IS NOT NULL",
        ada.user["id"],
    )
    phone = await ada.elsewhere(SAFARI)
    assert await ada.is_in()
    assert await phone.is_in()
    live = await owner.fetch("SELECT count(*) FROM sessions WHERE ended_at IS NULL GROUP BY user_id ORDER BY user_id")
    assert [row["count"] for row in live] == [50, 50]
    assert set(await ended(owner)) == {None, "too many sessions"}


async def test_ending_one_session(ada: Visitor, owner: asyncpg.Connection):
    phone = await ada.elsewhere(SAFARI)
    here = next(one["id"] for one in await sessions_of(phone) if one["is_current"])
    assert (await ada.act("DELETE", f"/auth/sessions/{here}")).status_code == 204
    assert await phone.is_out()
    assert await ada.is_in()
    refusal(await ada.act("DELETE", f"/auth/sessions/{here}"), "RESOURCE_NOT_FOUND")
    assert await ended(owner) == [None, "ended by its owner"]


@pytest.mark.parametrize("role", ["patient", "doctor", "staff", "admin"])
async def test_the_sessions_of_others_are_not_there(
    api: httpx.AsyncClient, ada: Visitor, world: World, owner: asyncpg.Connection, role: str
):
    other = await world.user(role)
    hers = await owner.fetchval("SELECT id FROM sessions WHERE user_id = $1", ada.user["id"])
    before = await digest(owner)
    refusal(await api.delete(f"/auth/sessions/{hers}", headers=other.headers), "RESOURCE_NOT_FOUND")
    assert await digest(owner) == before
    listed = (await api.get("/auth/sessions", headers=other.headers)).json()
    assert [one["is_current"] for one in listed] == [True]
