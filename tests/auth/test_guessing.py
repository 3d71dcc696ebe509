"""Guessing passwords: slow for whoever tries, told to whom it concerns, and no lock on anybody's own door."""

import asyncio
from collections.abc import Iterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.auth.passwords import Passwords
from health_services.limits.limiter import Limiter
from tests.api.answers import refusal
from tests.auth.post import Post
from tests.factories import World
from tests.sessions.visitors import PASSWORD, Visitor, notices

PER_ACCOUNT_AND_ADDRESS = 10


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every password that was really looked at."""
    seen: list[str] = []
    verify = Passwords._verify

    def noted(self: Passwords, password: str, stored: str) -> tuple[bool, str | None]:
        seen.append(password)
        return verify(self, password, stored)

    monkeypatch.setattr(Passwords, "_verify", noted)
    yield seen


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long those who fail are made to wait, which takes no time here."""
    seen: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float, *more: object) -> None:
        seen.append(seconds)
        await sleep(0, *more)

    monkeypatch.setattr("health_services.limits.limiter.asyncio.sleep", noted)
    return seen


class At:
    """A caller at an address of his own."""

    def __init__(self, app: FastAPI, address: str) -> None:
        self._app = app
        self._address = address

    async def login(self, email: str, password: str = "wrong password") -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False, client=(self._address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
            return await client.post("/auth/login", json={"email": email, "password": password})


@pytest.mark.usefixtures("limiter", "waits")
class TestLimits:
    """With the limits as they are by default."""

    async def test_ten_failures_for_an_account_from_an_address(self, ada: Visitor, app: FastAPI, checked: list[str]):
        thief, home = At(app, "198.51.100.7"), At(app, "203.0.113.7")
        answers = [await thief.login(ada.email) for _ in range(15)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 5
        refusal(answers[-1], "RATE_LIMITED")
        assert len(checked) == 10, "what is refused is not looked at"
        assert int(answers[-1].headers["retry-after"]) > 0
        assert '"login";' in answers[-1].headers["ratelimit-policy"]
        assert (await thief.login(ada.email, PASSWORD)).status_code == 429
        assert (await home.login(ada.email, PASSWORD)).status_code == 200, "she is not locked out"
        assert (await thief.login("grace@example.org")).status_code == 401, "another account has its own count"

    async def test_an_unknown_account_is_limited_alike(self, app: FastAPI):
        thief = At(app, "198.51.100.7")
        answers = [await thief.login("nobody@example.org") for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2

    async def test_thirty_failures_from_an_address(self, ada: Visitor, app: FastAPI, checked: list[str]):
        """One password against many accounts."""
        thief, home = At(app, "198.51.100.7"), At(app, "203.0.113.7")
        answers = [await thief.login(f"person{number}@example.org") for number in range(35)]
        assert [answer.status_code for answer in answers] == [401] * 30 + [429] * 5
        assert '"login_address";' in answers[-1].headers["ratelimit-policy"]
        assert len(checked) == 30
        assert (await thief.login(ada.email, PASSWORD)).status_code == 429
        assert (await home.login(ada.email, PASSWORD)).status_code == 200

    async def test_whoever_tries_at_once_has_no_more_tries(self, ada: Visitor, app: FastAPI, checked: list[str]):
        thief = At(app, "198.51.100.7")
        answers = await asyncio.gather(*(thief.login(ada.email, f"guess {n}") for n in range(40)))
        assert {answer.status_code for answer in answers} == {401, 429}
        assert len(checked) <= PER_ACCOUNT_AND_ADDRESS + 1, "two are under way at once"

    async def test_right_passwords_count_nothing(self, ada: Visitor, app: FastAPI):
        home = At(app, "203.0.113.7")
        for _ in range(12):
            assert (await home.login(ada.email, PASSWORD)).status_code == 200

    async def test_many_addresses_are_slowed_down_and_the_owner_is_told_once(
        self, ada: Visitor, app: FastAPI, waits: list[float], owner: asyncpg.Connection, post: Post
    ):
        await post.sent()
        for number in range(19):
            await At(app, f"198.51.100.{number}").login(ada.email)
        assert waits == [0.25, 0.5, 1, 2, 4, 4, 4, 4, 4]
        assert await notices(owner) == []
        for number in range(19, 30):
            await At(app, f"198.51.100.{number}").login(ada.email)
        assert await notices(owner) == ["failed_logins"]
        (mail,) = await post.sent()
        assert "Somebody has tried many times to sign in to your account" in mail.text
        assert (await At(app, "203.0.113.7").login(ada.email, PASSWORD)).status_code == 200

    async def test_nobody_is_told_of_an_account_that_is_not(self, app: FastAPI, owner: asyncpg.Connection):
        for number in range(25):
            answer = await At(app, f"198.51.100.{number}").login("nobody@example.org")
            assert answer.status_code == 401
        assert await owner.fetchval("SELECT count(*) FROM notifications") == 0

    async def test_failures_are_audited_and_so_are_refusals(
        self, ada: Visitor, app: FastAPI, owner: asyncpg.Connection
    ):
        thief = At(app, "198.51.100.7")
        for _ in range(11):
            await thief.login(ada.email)
        rows = await owner.fetch("SELECT * FROM audit_log WHERE action = 'login' ORDER BY id")
        assert [(row["status"], row["outcome"]) for row in rows] == [(401, "refused")] * 10 + [(429, "refused")]
        assert {row["address"] for row in rows} == {"198.51.100.7"}
        assert rows[0]["user_ids"] == [ada.user["id"]]
        assert {row["user_id"] for row in rows} == {None}

    async def test_the_other_doors_that_ask_for_the_password_count_too(self, ada: Visitor, checked: list[str]):
        """ASVS 6.3.4: every way in is as strong as the others."""
        body = {"current_password": "wrong password", "new_password": "four green kettles"}
        for _ in range(5):
            refusal(await ada.act("POST", "/auth/reauthenticate", {"password": "wrong"}), "AUTHORIZATION_ERROR")
            refusal(await ada.act("POST", "/auth/password/change", body), "AUTHORIZATION_ERROR")
        assert len(checked) == 10
        for answer in (
            await ada.act("POST", "/auth/reauthenticate", {"password": PASSWORD}),
            await ada.act("POST", "/auth/password/change", body),
            await ada.login(),
        ):
            refusal(answer, "RATE_LIMITED")
        assert len(checked) == 10

    async def test_twenty_accounts_an_hour_from_an_address(self, api: httpx.AsyncClient, limiter: Limiter):
        def account(number: int) -> dict[str, str]:
            return {"name": "Ada", "email": f"new{number}@example.org", "password": PASSWORD}

        answers = [await api.post("/auth/register", json=account(number)) for number in range(22)]
        assert [answer.status_code for answer in answers] == [200] * 20 + [429] * 2
        refusal(answers[-1], "RATE_LIMITED")


async def test_an_administrator_registers_as_many_as_he_likes(api: httpx.AsyncClient, limiter: Limiter, world: World):
    admin = await world.admin()
    await limiter.hit("register", "127.0.0.1", cost=20)
    body = {"name": "Ada", "email": "ada@example.org", "password": PASSWORD}
    refusal(await api.post("/auth/register", json=body), "RATE_LIMITED")
    assert (await api.post("/auth/register", json=body, headers=admin.headers)).status_code == 200
