"""Two requests at one instant: a code is good for one of them, and one factor is always left to whoever needs it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from health_services.second_factors.models import Passkey, TotpAuthenticator
from health_services.second_factors.repository import SecondFactorRepository
from tests.factories import World
from tests.second_factors.authenticator import Device
from tests.second_factors.conftest import Clock, Factors
from tests.servers import TestDatabase

_WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'health-services' AND wait_event_type = 'Lock'"""


@asynccontextmanager
async def held(database: TestDatabase, *tables: str) -> AsyncIterator[asyncpg.Connection]:
    """Every row of these tables is locked until the block ends; gives a connection that sees who waits."""
    holder, watcher = await asyncpg.connect(database.owner_url), await asyncpg.connect(database.admin_url)
    try:
        async with holder.transaction():
            for table in tables:
                await holder.execute(f"SELECT FROM {table} FOR UPDATE")
            yield watcher
    finally:
        await holder.close()
        await watcher.close()


async def at_once(database: TestDatabase, tables: tuple[str, ...], *requests: Awaitable[httpx.Response]) -> list[int]:
    """The statuses of requests that have all come as far as these tables before one of them goes on."""
    async with held(database, *tables) as watcher:
        tasks = [asyncio.ensure_future(request) for request in requests]
        async with asyncio.timeout(60):
            while await watcher.fetchval(_WAITING) < len(tasks):
                await asyncio.sleep(0.02)
    return sorted([(await task).status_code for task in tasks])


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_one_code_signs_in_once(
    factors: Factors, world: World, clock: Clock, database: TestDatabase, monkeypatch: pytest.MonkeyPatch,
    is_guarded: bool,
):  # fmt: skip
    async def use_any(self: SecondFactorRepository, user_id: int, step: int) -> bool:
        await self._session.execute(update(TotpAuthenticator).filter_by(user_id=user_id).values(last_step=step))
        return True

    if not is_guarded:
        monkeypatch.setattr(SecondFactorRepository, "use_step", use_any)
    person = await world.patient()
    secret, _ = await factors.totp(person)
    code = clock.code(secret)
    first, second = await factors.password(person), await factors.password(person)
    logins = factors.complete(first, code), factors.complete(second, code)
    statuses = await at_once(database, ("totp_authenticators",), *logins)
    assert statuses == ([200, 401] if is_guarded else [200, 200])


async def test_one_recovery_code_signs_in_once(factors: Factors, world: World, database: TestDatabase):
    person = await world.patient()
    _, codes = await factors.totp(person)
    first, second = await factors.password(person), await factors.password(person)
    logins = factors.complete(first, codes[3]), factors.complete(second, codes[3])
    assert await at_once(database, ("recovery_codes",), *logins) == [200, 401]


async def test_one_token_signs_in_once(factors: Factors, world: World, clock: Clock, owner: asyncpg.Connection):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = await factors.password(person)
    answers = await asyncio.gather(*(factors.complete(begun, code) for code in (clock.code(secret), *codes[:4])))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    assert await owner.fetchval("SELECT count(*) FROM recovery_codes WHERE used_at IS NOT NULL") <= 1


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_one_use_of_a_passkey_counts_once(
    factors: Factors, world: World, database: TestDatabase, monkeypatch: pytest.MonkeyPatch, is_guarded: bool
):
    async def use_any(self: SecondFactorRepository, passkey_id: int, sign_count: int, now: Any, **_: bool) -> bool:
        await self._session.execute(update(Passkey).filter_by(id=passkey_id).values(sign_count=sign_count))
        return True

    if not is_guarded:
        monkeypatch.setattr(SecondFactorRepository, "use_passkey", use_any)
    person = await world.patient()
    device = await factors.passkey(person)
    options = [await factors.request_options(), await factors.request_options()]
    uses = []
    for option in options:  # a device and its copy count alike
        device.sign_count = 7
        uses.append({"credential": device.get(option)})
    logins = [factors.api.post("/auth/login/passkey", json=use) for use in uses]
    statuses = await at_once(database, ("passkeys",), *logins)
    assert statuses == ([200, 401] if is_guarded else [200, 200])


@pytest.mark.parametrize("is_guarded", [True, False])
async def test_the_last_two_factors_are_not_removed_at_once(
    factors: Factors, world: World, app: FastAPI, database: TestDatabase, owner: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch, is_guarded: bool,
):  # fmt: skip
    async def lock_nothing(self: SecondFactorRepository, user_id: int) -> None:
        return

    doctor = await world.doctor()
    await factors.totp(doctor)
    await factors.passkey(doctor, Device())
    passkey = await owner.fetchval("SELECT id FROM passkeys")
    monkeypatch.setitem(
        app.state._state, "settings", app.state.settings.model_copy(update={"require_mfa_roles": ["doctor"]})
    )
    if not is_guarded:
        monkeypatch.setattr(SecondFactorRepository, "lock", lock_nothing)
    removals = [
        factors.api.delete(path, headers=doctor.headers) for path in ("/auth/mfa/totp", f"/auth/passkeys/{passkey}")
    ]
    statuses = await at_once(database, ("totp_authenticators", "passkeys"), *removals)
    assert statuses == ([204, 409] if is_guarded else [204, 204])
    left = await owner.fetchval("SELECT (SELECT count(*) FROM totp_authenticators) + (SELECT count(*) FROM passkeys)")
    assert left == (1 if is_guarded else 0)
