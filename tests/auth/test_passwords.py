"""How passwords are kept and checked: dear enough, equally dear for everybody, and never in the way of others."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import argon2
import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from health_services.auth.passwords import AT_ONCE, Passwords, common_passwords, why_refused
from health_services.main import create_app
from health_services.settings import Settings
from tests.api.answers import refusal
from tests.auth.test_endpoints import GUIDE, login, register, signed_in
from tests.factories import World

OWASP_MEMORY_KIB, OWASP_PASSES = 19456, 2
HASH = "SELECT password_hash FROM users WHERE email = 'john@example.com'"


def parameters(stored: str) -> argon2.Parameters:
    """What an Argon2 hash cost."""
    return argon2.extract_parameters(stored)


async def test_what_is_stored_is_argon2id_at_owasps_cost(api: httpx.AsyncClient, owner: asyncpg.Connection):
    await register(api)
    first = await owner.fetchval(HASH)
    cost = parameters(first)
    assert cost.type is argon2.Type.ID
    assert cost.memory_cost >= OWASP_MEMORY_KIB
    assert cost.time_cost >= OWASP_PASSES
    assert cost.salt_len >= 16
    assert cost.hash_len >= 32
    await register(api, email="other@example.com")
    assert await owner.fetchval("SELECT count(DISTINCT password_hash) FROM users") == 2, "each has its own salt"


def test_no_setting_makes_it_cheaper_than_owasp_says():
    fields = Settings.model_fields
    assert fields["password_memory_kib"].default >= OWASP_MEMORY_KIB
    assert fields["password_time_cost"].default >= OWASP_PASSES
    for cheap in ({"password_memory_kib": OWASP_MEMORY_KIB - 1}, {"password_time_cost": OWASP_PASSES - 1}):
        with pytest.raises(ValueError, match="greater than or equal"):
            Settings(**cheap)  # type: ignore[arg-type]


async def test_the_same_work_is_done_for_everybody(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    signed_in(await register(api))
    await register(api, email="inactive@example.com")
    await owner.execute("UPDATE users SET is_active = false WHERE email = 'inactive@example.com'")
    await world.user(email="nopassword@example.com", password_hash=None)
    work: list[argon2.Parameters] = []
    verify = Argon2Hasher.verify

    def counted(self: Argon2Hasher, password: str | bytes, stored: str | bytes) -> bool:
        work.append(parameters(str(stored)))
        return verify(self, password, stored)

    monkeypatch.setattr(Argon2Hasher, "verify", counted)
    done = []
    for email, password in (
        ("john@example.com", GUIDE["password"]),
        ("john@example.com", "wrong password"),
        ("inactive@example.com", GUIDE["password"]),
        ("nopassword@example.com", "anything"),
        ("unknown@example.com", "anything"),
    ):
        work.clear()
        await login(api, email=email, password=password)
        done.append(list(work))
    assert len(done[0]) == 1
    assert all(calls == done[0] for calls in done), done


async def test_a_new_cost_is_taken_on_at_the_next_sign_in(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI
):
    signed_in(await register(api))
    dearer = PasswordHash((Argon2Hasher(memory_cost=20480, time_cost=3, parallelism=1),)).hash(GUIDE["password"])
    await owner.execute("UPDATE users SET password_hash = $1", dearer)
    refusal(await login(api, password="wrong password"), "AUTHENTICATION_ERROR")
    assert await owner.fetchval(HASH) == dearer
    signed_in(await login(api))
    renewed = await owner.fetchval(HASH)
    assert parameters(renewed).memory_cost == app.state.settings.password_memory_kib
    signed_in(await login(api))
    assert await owner.fetchval(HASH) == renewed


class Held:
    """Hashing that waits until it is let go, and remembers how many were at it at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = self.inside = self.most = 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()
        in_thread = Passwords._in_thread

        async def counted(passwords: Passwords, work: Callable[[], Any]) -> Any:
            self.asked += 1
            return await in_thread(passwords, lambda: self._wait(work))

        monkeypatch.setattr(Passwords, "_in_thread", counted)

    def _wait(self, work: Callable[[], Any]) -> Any:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.let_go.wait(60)
        result = work()
        with self._lock:
            self.inside -= 1
        return result

    async def all_asked(self, count: int) -> None:
        """Return when so many have asked, and as many as may are at it."""
        while self.asked < count or self.inside < AT_ONCE:
            await asyncio.sleep(0.01)


async def no_connection_is_held(app: FastAPI) -> None:
    """Return when it is so."""
    while app.state.database.engine.pool.checkedout():
        await asyncio.sleep(0.01)


async def test_two_at_once_and_nobody_else_waits(
    api: httpx.AsyncClient, world: World, app: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    signed_in(await register(api))
    admin = await world.admin()
    held = Held(monkeypatch)
    requests = [login(api), login(api, password="wrong password"), login(api, email="unknown@example.com")]
    requests += [register(api, email=f"new{n}@example.com") for n in range(3)]
    requests += [register(api, admin, email="desk@example.com", role="staff")]
    try:
        tasks = [asyncio.create_task(request) for request in requests]
        # the third login waits for its turn before that
        await asyncio.wait_for(held.all_asked(len(tasks) - 1), 30)
        await asyncio.wait_for(no_connection_is_held(app), 30)
        assert (await api.get("/clinics")).status_code == 200
        assert (await api.get("/auth/profile", headers=admin.headers)).status_code == 200
    finally:
        held.let_go.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.status_code for answer in answers] == [200, 401, 401, 200, 200, 200, 200]
    assert held.most == AT_ONCE == 2


def test_common_passwords_are_refused_whatever_their_case():
    assert common_passwords() == {word for word in FREQUENCY_LISTS["passwords"] if len(word) >= 8}
    assert len(common_passwords()) > 5000
    for password in ("password", "PaSsWoRd", "12345678", "qwertyuiop", "letmein1", "superman"):
        assert why_refused(password, email=None, name="x"), password
    assert why_refused("SecurePass123", email="john@example.com", name="John Doe") is None


async def test_the_service_prepares_before_the_first_caller(app: FastAPI):
    passwords: Passwords = create_app(app.state.settings).state.gate.passwords
    assert passwords._nobody is None
    await passwords.prepare()
    nobody = getattr(passwords, "_nobody")  # noqa: B009 - mypy believes the line above
    # Whoever does not exist costs what the others cost, and nothing is refused sooner for its form.
    assert parameters(nobody) == parameters(await passwords.hash("any"))
    assert await passwords.check("any", nobody) == (False, None)
    passwords.close()
