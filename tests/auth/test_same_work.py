"""Nobody learns from how much is done for him who has an account: signing in, a forgotten password.

The work is counted: every statement that goes to the database, in its order, and every hash of a password. How long it
takes is compared by `make security`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from health_services.auth.passwords import Passwords
from health_services.limits.limiter import Limiter
from tests.factories import World
from tests.sessions.visitors import PASSWORD, Visitor
from tests.statements import sent_past_sqlalchemy

Ask = Callable[[str], Awaitable[httpx.Response]]


@pytest.fixture
async def work(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What has been done, in its order."""
    done: list[str] = []
    in_thread = Passwords._in_thread

    async def hashed(passwords: Passwords, task: Callable[[], Any]) -> Any:
        done.append("hash")
        return await in_thread(passwords, task)

    def note(*of_cursor: Any) -> None:
        done.append(of_cursor[2])

    monkeypatch.setattr(Passwords, "_in_thread", hashed)
    engine = app.state.database.engine.sync_engine
    hooks: list[tuple[str, Callable[..., None]]] = [
        ("before_cursor_execute", note),
        ("commit", lambda _: done.append("commit")),
        ("rollback", lambda _: done.append("rollback")),
    ]
    for name, hook in hooks:
        event.listen(engine, name, hook)
    with sent_past_sqlalchemy(done.append):
        yield done
    for name, hook in hooks:
        event.remove(engine, name, hook)


@pytest.fixture
async def kinds(api: httpx.AsyncClient, ada: Visitor, world: World, owner: asyncpg.Connection) -> dict[str, str]:
    """An address of each kind of person."""
    assert ada.access
    await Visitor(api, "closed@example.org").register()
    await owner.execute("UPDATE users SET is_active = false WHERE email = 'closed@example.org'")
    await world.patient(user={"email": "entered@example.org", "password_hash": None})
    return {
        "known": ada.email,
        "closed": "closed@example.org",
        "without a password": "entered@example.org",
        "unknown": "nobody@example.org",
    }


async def counted(work: list[str], kinds: dict[str, str], ask: Ask, status: int) -> dict[str, list[str]]:
    """What is done for each kind, once all is prepared, and that each gets the same answer."""
    found: dict[str, list[str]] = {}
    answers: dict[str, tuple[Any, ...]] = {}
    for _ in range(2):
        for kind, email in kinds.items():
            work.clear()
            answer = await ask(email)
            found[kind] = list(work)
            body = answer.json() | {"timestamp": ""} if answer.content else None
            answers[kind] = (answer.status_code, body, sorted(set(answer.headers) - {"x-request-id"}))
    assert all(answer == answers["unknown"] for answer in answers.values()), answers
    assert answers["unknown"][0] == status
    return found


async def test_a_wrong_password(api: httpx.AsyncClient, work: list[str], kinds: dict[str, str]):
    async def ask(email: str) -> httpx.Response:
        return await api.post("/auth/login", json={"email": email, "password": "wrong password"})

    done = await counted(work, kinds, ask, 401)
    assert done["unknown"].count("hash") == 1
    assert all(work == done["unknown"] for work in done.values())


@pytest.mark.usefixtures("quick")
async def test_a_wrong_password_after_many(
    api: httpx.AsyncClient, work: list[str], kinds: dict[str, str], limiter: Limiter
):
    """When the owner is told."""

    async def ask(email: str) -> httpx.Response:
        return await api.post("/auth/login", json={"email": email, "password": "wrong password"})

    for email in kinds.values():
        for _ in range(25):
            await limiter.slow_down("login", email)
    done = await counted(work, kinds, ask, 401)
    assert len([statement for statement in done["unknown"] if "INSERT INTO notifications" in statement]) == 1
    assert all(work == done["unknown"] for work in done.values())


async def test_the_right_password_of_a_closed_account(api: httpx.AsyncClient, work: list[str], kinds: dict[str, str]):
    async def ask(email: str) -> httpx.Response:
        return await api.post("/auth/login", json={"email": email, "password": PASSWORD})

    kinds.pop("known")
    done = await counted(work, kinds, ask, 401)
    assert all(work == done["unknown"] for work in done.values())


@pytest.mark.parametrize("is_too_often", [False, True])
async def test_a_forgotten_password(
    api: httpx.AsyncClient, work: list[str], kinds: dict[str, str], app: FastAPI, is_too_often: bool, limiter: Limiter
):
    async def ask(email: str) -> httpx.Response:
        return await api.post("/auth/password/forgot", json={"email": email})

    if is_too_often:
        await limiter.hit("mail_address", "127.0.0.1", cost=20)
    done = await counted(work, kinds, ask, 202)
    for what in ("INSERT INTO one_time_tokens", "INSERT INTO notifications", "INSERT INTO audit_log"):
        assert len([statement for statement in done["unknown"] if what in statement]) == 1, what
    assert all(work == done["unknown"] for work in done.values())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody waits after a failure."""
    monkeypatch.setattr("health_services.limits.limiter.SHORTEST_WAIT_SECONDS", 0)
    yield
