"""Somebody who is signed in with one program, and what he can still do with what he was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

PASSWORD = "three blue teapots"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile Safari/604.1"


@contextmanager
def configured(app: FastAPI, **settings: Any) -> Iterator[None]:
    """Let the application have these settings until the block ends."""
    usual = app.state.settings
    app.state.settings = usual.model_copy(update=settings)
    try:
        yield
    finally:
        app.state.settings = usual


@dataclass
class Visitor:
    """`access` and `refresh` are the tokens of the last answer."""

    api: httpx.AsyncClient
    email: str
    agent: str = FIREFOX
    access: str = ""
    refresh: str = ""
    user: dict[str, Any] = field(default_factory=dict)

    async def register(self, **more: Any) -> "Visitor":
        """Make the account, and be signed in."""
        body = {"name": "Ada Wong", "email": self.email, "password": PASSWORD, **more}
        self.take(await self.post("/auth/register", body))
        return self

    async def login(self, password: str = PASSWORD, **more: Any) -> httpx.Response:
        """Ask to be signed in."""
        return await self.post("/auth/login", {"email": self.email, "password": password, **more})

    async def sign_in(self, password: str = PASSWORD) -> "Visitor":
        """Be signed in."""
        self.take(await self.login(password))
        return self

    async def elsewhere(self, agent: str = FIREFOX) -> "Visitor":
        """The same person, signed in a second time."""
        return await Visitor(self.api, self.email, agent).sign_in()

    def take(self, answer: httpx.Response) -> None:
        """Go on with the tokens of an answer."""
        assert answer.status_code == 200, answer.text
        body = answer.json()
        self.access, self.refresh, self.user = body["access_token"], body["refresh_token"] or "", body["user"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}", "User-Agent": self.agent}

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Without a token."""
        return await self.api.post(path, json=body, headers={"User-Agent": self.agent, **headers})

    async def act(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """With the access token."""
        return await self.api.request(method, path, json=body, headers=self.headers)

    async def renew(self, token: str | None = None) -> httpx.Response:
        """Refresh, with the last token or another one."""
        return await self.post("/auth/refresh", {"refresh_token": self.refresh if token is None else token})

    async def is_in(self) -> bool:
        """Whether the access token still opens something."""
        answer = await self.act("GET", "/auth/profile")
        assert answer.status_code in {200, 401}
        return answer.status_code == 200

    async def is_out(self) -> bool:
        """Whether neither token is good for anything any more."""
        return not await self.is_in() and (await self.renew()).status_code == 401


async def ended(owner: asyncpg.Connection) -> list[str | None]:
    """Why each session has ended, by id; None for one that lives."""
    return [row["ended_reason"] for row in await owner.fetch("SELECT ended_reason FROM sessions ORDER BY id")]


async def pass_time(owner: asyncpg.Connection, passed: timedelta) -> None:
    """As if all that happened to sessions had happened so much earlier."""
    await owner.execute(
        """UPDATE sessions SET (created_at, authenticated_at, last_used_at, expires_at) =
               (created_at - $1::interval, authenticated_at - $1::interval, last_used_at - $1::interval,
                expires_at - $1::interval)""",
        passed,
    )
    await owner.execute(
        """UPDATE refresh_tokens SET created_at = created_at - $1::interval, used_at = used_at - $1::interval,
                  expires_at = expires_at - $1::interval""",
        passed,
    )


async def notices(owner: asyncpg.Connection) -> list[str]:
    """What people are told about their accounts, in order."""
    query = "SELECT data ->> 'about' AS about FROM notifications WHERE kind = 'security_notice' ORDER BY id"
    return [row["about"] for row in await owner.fetch(query)]
