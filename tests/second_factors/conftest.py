"""People with second factors, and a clock that stands still."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyotp
import pytest
from fastapi import FastAPI

from health_services.access.service import act_as
from health_services.access.trail import Trail
from health_services.api.dependencies import current_instant
from health_services.second_factors import service
from health_services.sessions.service import Device as Browser
from tests.factories import Person
from tests.second_factors.authenticator import Device

STEP = timedelta(seconds=30)


@dataclass
class Clock:
    """What requests take for now: the beginning of a period of 30 seconds, a few before the real one."""

    now: datetime

    @classmethod
    def started(cls) -> "Clock":
        return cls(datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) // 30 * 30, UTC) - 4 * STEP)

    def code(self, secret: str, steps: int = 0) -> str:
        """What an app shows that is so many periods ahead."""
        return pyotp.TOTP(secret).at(self.now, counter_offset=steps)


@pytest.fixture
def clock(app: FastAPI) -> Iterator[Clock]:
    """The clock of every request."""
    clock = Clock.started()
    app.dependency_overrides[current_instant] = lambda: clock.now
    yield clock
    del app.dependency_overrides[current_instant]


@dataclass(frozen=True)
class Factors:
    """Makes factors, and signs in with them, through the API."""

    api: httpx.AsyncClient
    app: FastAPI
    clock: Clock

    async def totp(self, person: Person) -> tuple[str, list[str]]:
        """The secret of a new authenticator app, and the recovery codes; the present code is used."""
        begun = await self.api.post("/auth/mfa/totp", headers=person.headers)
        assert begun.status_code == 200, begun.text
        secret: str = begun.json()["secret"]
        body = {"code": self.clock.code(secret)}
        confirmed = await self.api.post("/auth/mfa/totp/confirm", json=body, headers=person.headers)
        assert confirmed.status_code == 200, confirmed.text
        self.clock.now += STEP
        return secret, confirmed.json()["recovery_codes"]

    async def passkey(self, person: Person, device: Device | None = None, name: str = "My phone") -> Device:
        """A device with a passkey of this person."""
        device = device or Device()
        answer = await self.register(person, device, name)
        assert answer.status_code == 201, answer.text
        return device

    async def register(self, person: Person, device: Device, name: str = "My phone") -> httpx.Response:
        options = await self.api.post("/auth/passkeys/options", headers=person.headers)
        assert options.status_code == 200, options.text
        body = {"name": name, "credential": device.create(options.json())}
        return await self.api.post("/auth/passkeys", json=body, headers=person.headers)

    async def password(self, person: Person) -> dict[str, Any]:
        """What somebody gets whose password was right: token and methods."""
        async with self.app.state.database.writing() as session:
            caller = await act_as(session, person.user_id, None, Trail())
            browser = Browser(client="Firefox on Linux", address="192.0.2.7")
            required = await service.begin_login(session, caller, browser, self.clock.now)
            await session.commit()
        return required.model_dump()

    async def complete(self, begun: dict[str, Any], code: str | None = None, **more: Any) -> httpx.Response:
        """The second half of signing in."""
        body = {"mfa_token": begun["mfa_token"], **({"code": code} if code else {}), **more}
        return await self.api.post("/auth/login/mfa", json=body)

    async def sign_in(self, person: Person, code: str) -> httpx.Response:
        """Both halves."""
        return await self.complete(await self.password(person), code)

    async def request_options(self) -> dict[str, Any]:
        options = await self.api.post("/auth/login/passkey/options")
        assert options.status_code == 200, options.text
        found: dict[str, Any] = options.json()
        return found

    async def by_passkey(self, device: Device, **more: Any) -> httpx.Response:
        """Sign in with nothing but a passkey."""
        body = {"credential": device.get(await self.request_options()), **more}
        return await self.api.post("/auth/login/passkey", json=body)


@pytest.fixture
def factors(api: httpx.AsyncClient, app: FastAPI, clock: Clock) -> Factors:
    """Factors of people."""
    return Factors(api, app, clock)
