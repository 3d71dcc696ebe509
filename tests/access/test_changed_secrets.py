"""HEALTH_PREVIOUS_SECRET_KEYS: a new secret signs nobody out and breaks nothing, and the old one signs nothing more."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import async_sessionmaker

from health_services.access.tokens import secrets_of
from health_services.database.engine import make_engine
from health_services.main import create_app
from health_services.notifications.models import Kind
from health_services.webhooks import signing
from health_services.webhooks.resealing import reseal_secrets
from tests.conftest import test_settings
from tests.factories import World
from tests.outgoing.servers import answering, serving
from tests.servers import TestDatabase
from tests.webhooks.hooks import Hooks, send_all, verify

NEW = SecretStr("another secret, of 32 bytes at least")
CLINIC = {"name": "Harbour Clinic"}


@pytest.fixture(params=[True, False], ids=["previous kept", "previous dropped"])
def is_kept(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def changed(app: FastAPI, database: TestDatabase, is_kept: bool) -> AsyncIterator[FastAPI]:
    """The application after a change of its secret, on the same database."""
    settings = test_settings(database.app_url)
    previous = [settings.secret_key] if is_kept else []
    made = create_app(settings.model_copy(update={"secret_key": NEW, "previous_secret_keys": previous}))
    made.state.worker_database = app.state.worker_database
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def later(changed: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    transport = httpx.ASGITransport(changed, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client


async def test_a_token_of_before(
    api: httpx.AsyncClient, world: World, later: httpx.AsyncClient, changed: FastAPI, is_kept: bool
):
    admin = await world.admin()
    answer = await later.get("/auth/profile", headers=admin.headers)
    assert answer.status_code == (200 if is_kept else 401)
    new = World(world.owner, changed.state.tokens)
    made = await new.admin()
    assert (await later.get("/auth/profile", headers=made.headers)).status_code == 200
    assert (await api.get("/auth/profile", headers=made.headers)).status_code == 401


async def test_an_idempotent_answer_of_before(
    api: httpx.AsyncClient, world: World, later: httpx.AsyncClient, changed: FastAPI, is_kept: bool
):
    admin = await world.admin()
    first = await api.post("/clinics", json=CLINIC, headers=admin.headers | {"Idempotency-Key": "k"})
    headers = await World(world.owner, changed.state.tokens).sign_in(admin.user_id, "admin")
    again = await later.post("/clinics", json=CLINIC, headers=headers | {"Idempotency-Key": "k"})
    assert again.status_code == (201 if is_kept else 409)
    if is_kept:
        assert again.content == first.content
    assert await world.owner.fetchval("SELECT count(*) FROM clinics") == 1


async def test_an_unsubscribe_link_of_before(
    api: httpx.AsyncClient, world: World, app: FastAPI, later: httpx.AsyncClient, changed: FastAPI, is_kept: bool
):
    patient = await world.patient()
    old, new = (
        str(each.state.links.url(patient.user_id, Kind.APPOINTMENT_REMINDER)).rpartition("/")[2]
        for each in (app, changed)
    )
    assert (await later.get(f"/unsubscribe/{old}")).status_code == (200 if is_kept else 404)
    assert (await later.get(f"/unsubscribe/{new}")).status_code == 200
    assert (await api.get(f"/unsubscribe/{new}")).status_code == 404


async def test_a_webhooks_secret_of_before(owner: asyncpg.Connection, app: FastAPI, changed: FastAPI, is_kept: bool):
    secret = signing.new_secret()
    before, after = Hooks(owner, app), Hooks(owner, changed)
    async with serving(answering()) as server, after.sender() as sender:
        delivery = await before.queue(await before.webhook(server.url, secret))
        await send_all(sender)
    assert await before.states(delivery) == ["sent" if is_kept else "queued"]
    if is_kept:
        verify(secret, server.received[0])


async def test_webhooks_secrets_are_brought_under_the_new_one(
    owner: asyncpg.Connection, app: FastAPI, changed: FastAPI, is_kept: bool, database: TestDatabase
):
    hooks = Hooks(owner, app)
    one, other = signing.new_secret(), signing.new_secret()
    first = await hooks.webhook("https://8.8.8.8/", one)
    await hooks.webhook("https://8.8.8.8/", other, is_active=False)
    await owner.execute("UPDATE webhooks SET previous_secret = secret WHERE id = $1", first)
    secrets = secrets_of(changed.state.settings)
    engine = make_engine(database.owner_url)
    async with async_sessionmaker(engine)() as session, session.begin():
        resealed = await reseal_secrets(session, secrets)
        assert await reseal_secrets(session, secrets) == 0
    await engine.dispose()
    kept = await owner.fetch("SELECT secret, previous_secret FROM webhooks ORDER BY id")
    if not is_kept:
        assert resealed == 0
        return
    assert resealed == 2
    assert [signing.unseal(row["secret"], secrets[:1]) for row in kept] == [one, other]
    assert signing.unseal(kept[0]["previous_secret"], secrets[:1]) == one
