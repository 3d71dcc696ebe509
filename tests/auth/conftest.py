"""What tests of signing in share."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.limits.limiter import Limiter
from tests.auth.post import Post
from tests.limits.clocks import Clock, limiter_on
from tests.second_factors.conftest import clock, factors  # noqa: F401 - fixtures
from tests.sessions.visitors import Visitor


@pytest.fixture
def post(owner: asyncpg.Connection, app: FastAPI) -> Post:
    """Sends mails into a box."""
    return Post(owner, app)


@pytest.fixture
async def ada(api: httpx.AsyncClient) -> Visitor:
    """A patient who is signed in with Firefox."""
    return await Visitor(api, "ada@example.org").register()


@pytest.fixture
async def limiter(app: FastAPI, tmp_path: Path) -> AsyncIterator[Limiter]:
    """The limits as they are by default, counted for this test alone by a clock that stands still."""
    usual, gate = app.state.limiter, app.state.gate
    limiter = limiter_on(tmp_path / "counts", "", Clock(6000))
    app.state.limiter, app.state.gate = limiter, replace(gate, limiter=limiter)
    yield limiter
    app.state.limiter, app.state.gate = usual, gate
    await limiter.close()
