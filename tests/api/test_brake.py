"""Whoever is refused among hundreds is told later, and nobody else has to wait for that."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from health_services.api import brake, overload
from health_services.api.brake import AT_ONCE, Brake
from health_services.main import create_app
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.servers import TestDatabase

MORE = 20


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The pauses last until this is set."""
    is_over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == brake.PAUSE_SECONDS
        await is_over.wait()

    monkeypatch.setattr(brake, "sleep", sleep)
    return is_over


async def test_a_hundred_a_second_are_told_at_once(paused: asyncio.Event, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(brake, "monotonic", lambda: now)
    one = Brake()
    told = [asyncio.create_task(one.slow_down()) for _ in range(AT_ONCE + MORE)]
    await asyncio.sleep(0)
    assert [task.done() for task in told] == [True] * AT_ONCE + [False] * MORE
    now += 1  # another second, whoever still waits
    await one.slow_down()
    paused.set()
    await asyncio.gather(*told)


async def test_the_rest_of_a_flood_waits_and_health_does_not(
    database: TestDatabase, paused: asyncio.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(brake, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(overload, "LONGEST_LINE", 0)
    app: FastAPI = create_app(test_settings(database.app_url))
    async with app.router.lifespan_context(app):
        places = app.state.room.browsing
        taken = [await places.take() for _ in range(places._free)]
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as site:
            flood = [asyncio.create_task(site.get("/api/v1/clinics")) for _ in range(AT_ONCE + MORE)]
            done, waiting = set[asyncio.Task[httpx.Response]](), set(flood)
            while len(done) < AT_ONCE:
                done, waiting = await asyncio.wait(flood, timeout=0.01)
            assert (await site.get("/healthz")).status_code == 200
            assert len(waiting) == MORE
            for place in taken:
                place.give_back()
            assert (await site.get("/api/v1/clinics")).status_code == 200
            paused.set()
            for answer in await asyncio.gather(*flood):
                refusal(answer, "OVERLOADED")
