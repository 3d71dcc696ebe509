"""Webhooks, as an administrator keeps them."""

import asyncio
import base64
import socket
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.outgoing import addresses
from tests.api.answers import read_pages, refusal, shape
from tests.conftest import TABLES
from tests.factories import Person, World
from tests.webhooks.hooks import Hooks

KEYS = {
    "id", "url", "events", "is_active", "disabled_reason", "created_by_user_id", "created_at", "updated_at",
}  # fmt: skip
NEW = {"url": "https://8.8.8.8:8443/hooks?team=desk", "events": ["appointment.booked", "slot.deleted"]}

WAITING = """SELECT count(*) FROM pg_locks
    WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


@pytest.fixture
async def admin(world: World) -> Person:
    return await world.admin()


async def create(api: httpx.AsyncClient, admin: Person, **values: Any) -> dict[str, Any]:
    answer = await api.post("/webhooks", json=NEW | values, headers=admin.headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def everything(owner: asyncpg.Connection) -> str:
    """All rows of all tables, as one text."""
    parts = [f"(SELECT coalesce(string_agg(t::text, '|'), '') FROM {table} t)" for table in TABLES.split(", ")]
    return str(await owner.fetchval(f"SELECT concat_ws(' ', {', '.join(parts)})"))


async def test_create(api: httpx.AsyncClient, admin: Person):
    made = shape(await create(api, admin), KEYS | {"secret"})
    assert made | NEW == made
    assert (made["is_active"], made["disabled_reason"]) == (True, None)
    assert made["created_by_user_id"] == admin.user_id
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"), validate=True)) == 32


async def test_the_secret_is_shown_once_and_kept_nowhere(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    key = {"Idempotency-Key": "made once"}
    answer = await api.post("/webhooks", json=NEW, headers=admin.headers | key)
    path, created = f"/webhooks/{answer.json()['id']}", answer.json()["secret"]
    rotated = (await api.post(f"{path}/rotate-secret", headers=admin.headers | {"Idempotency-Key": "two"})).json()
    assert set(rotated) == {"secret"}
    assert rotated["secret"] != created
    for address in ("/webhooks", path, f"{path}/deliveries"):
        shown = await api.get(address, headers=admin.headers)
        assert shown.status_code == 200
        assert "whsec" not in shown.text
    changed = await api.put(path, json={"events": ["slot.created"]}, headers=admin.headers)
    assert set(changed.json()) == KEYS
    kept = await everything(owner)
    for secret in (created, rotated["secret"]):
        raw = base64.b64decode(secret.removeprefix("whsec_"))
        for form in (secret, secret.removeprefix("whsec_"), raw.hex(), secret.encode().hex()):
            assert form not in kept


async def test_a_request_that_is_sent_again_makes_one_webhook(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection
):
    headers = admin.headers | {"Idempotency-Key": "made once"}
    first, again = [await api.post("/webhooks", json=NEW, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert await owner.fetchval("SELECT count(*) FROM webhooks") == 1


async def test_get_and_list(api: httpx.AsyncClient, admin: Person):
    made = [await create(api, admin) for _ in range(3)]
    answer = await api.get(f"/webhooks/{made[1]['id']}", headers=admin.headers)
    assert shape(answer.json(), KEYS) == {name: made[1][name] for name in KEYS}
    listed = await api.get("/webhooks", headers=admin.headers)
    assert listed.json() == [{name: one[name] for name in KEYS} for one in made]
    ids = [one["id"] for one in made]
    assert await read_pages(api, "/webhooks", 2, headers=admin.headers) == [ids[:2], ids[2:]]


async def test_update_changes_only_what_is_sent(api: httpx.AsyncClient, admin: Person):
    made = await create(api, admin)
    path = f"/webhooks/{made['id']}"
    for change in ({"url": "https://1.1.1.1/x"}, {"events": ["slot.created"]}, {"is_active": False}):
        changed = (await api.put(path, json=change, headers=admin.headers)).json()
        made |= change
        assert {**changed, "updated_at": None} == {**{name: made[name] for name in KEYS}, "updated_at": None}
        assert (await api.get(path, headers=admin.headers)).json() == changed


async def test_switching_on_again_forgets_why_it_was_off(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook = await hooks.webhook("https://8.8.8.8/", is_active=False, disabled_reason="gone (410)")
    path = f"/webhooks/{webhook}"
    assert (await api.get(path, headers=admin.headers)).json()["disabled_reason"] == "gone (410)"
    answer = await api.put(path, json={"is_active": True}, headers=admin.headers)
    assert (answer.json()["is_active"], answer.json()["disabled_reason"]) == (True, None)


async def test_delete(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook, other = await hooks.webhook("https://8.8.8.8/"), await hooks.webhook("https://8.8.8.8/")
    sent, waiting, others = await hooks.queue(webhook), await hooks.queue(webhook), await hooks.queue(other)
    await hooks.set("webhook_deliveries", sent, state="'sent'")
    path = f"/webhooks/{webhook}"
    answer = await api.delete(path, headers=admin.headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert await hooks.states(sent, waiting, others) == ["sent", "skipped", "queued"]
    refusal(await api.delete(path, headers=admin.headers), "RESOURCE_NOT_FOUND")
    listed = await api.get("/webhooks", headers=admin.headers)
    assert [row["id"] for row in listed.json()] == [other]


async def test_nothing_is_left_of_a_deleted_webhook(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook = await hooks.webhook("https://8.8.8.8/", deleted_at=await hooks.owner.fetchval("SELECT now()"))
    path, delivery = f"/webhooks/{webhook}", await hooks.queue(webhook)
    refusal(await api.get(path, headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.put(path, json={"is_active": False}, headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.post(f"{path}/rotate-secret", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.get(f"{path}/deliveries", headers=admin.headers), "RESOURCE_NOT_FOUND")
    again = await api.post(f"{path}/deliveries/{delivery}/redeliver", headers=admin.headers)
    refusal(again, "RESOURCE_NOT_FOUND")


async def test_at_most_a_hundred(api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection):
    await owner.execute(
        """INSERT INTO webhooks (url, events, secret, deleted_at)
           SELECT 'https://8.8.8.8/', '{slot.created}', '', CASE WHEN n > 100 THEN now() END
           FROM generate_series(1, 105) n"""
    )
    refusal(await api.post("/webhooks", json=NEW, headers=admin.headers), "CONFLICT")
    assert (await api.delete("/webhooks/50", headers=admin.headers)).status_code == 204
    async with owner.transaction():
        # nobody can insert, but everybody can count
        await owner.execute("LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE")
        requests = [asyncio.create_task(api.post("/webhooks", json=NEW, headers=admin.headers)) for _ in range(5)]
        while await owner.fetchval(WAITING) < 5:
            await asyncio.sleep(0.01)
    answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert await owner.fetchval("SELECT count(*) FROM webhooks WHERE deleted_at IS NULL") == 100


@pytest.fixture
def asked(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many connections were held each time a name was asked for; every name is a public one."""
    held: list[int] = []

    async def found(*_: object, **__: object) -> list[tuple[int, str]]:
        held.append(app.state.database.engine.pool.checkedout())
        return [(socket.AF_INET, "8.8.8.8")]

    monkeypatch.setattr(addresses, "addresses_of", found)
    return held


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}])
async def test_names_are_asked_for_while_no_connection_is_held(
    api: httpx.AsyncClient, admin: Person, asked: list[int], key: dict[str, str]
):
    answer = await api.post("/webhooks", json=NEW, headers=admin.headers | key)
    assert (answer.status_code, asked) == (201, [0])
    path = f"/webhooks/{answer.json()['id']}"
    assert (await api.put(path, json={"url": NEW["url"]}, headers=admin.headers)).status_code == 200
    assert asked == [0, 0]


async def test_beyond_a_hundred_no_name_is_asked_for(
    api: httpx.AsyncClient, admin: Person, owner: asyncpg.Connection, asked: list[int]
):
    await owner.execute(
        "INSERT INTO webhooks (url, events, secret) SELECT 'https://8.8.8.8/', '{}', '' FROM generate_series(1, 100)"
    )
    for key in ({}, {"Idempotency-Key": "one"}):
        refusal(await api.post("/webhooks", json=NEW, headers=admin.headers | key), "CONFLICT")
    assert asked == []
