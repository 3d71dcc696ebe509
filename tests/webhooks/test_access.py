"""Webhooks are the administrators' alone."""

from typing import Any

import httpx
import pytest

from tests.api.answers import digest, refusal
from tests.factories import World
from tests.webhooks.hooks import Hooks

REQUESTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/webhooks", {"url": "https://8.8.8.8/", "events": ["slot.created"]}),
    ("GET", "/webhooks", None),
    ("GET", "/webhooks/{webhook}", None),
    ("PUT", "/webhooks/{webhook}", {"is_active": False}),
    ("POST", "/webhooks/{webhook}/rotate-secret", None),
    ("DELETE", "/webhooks/{webhook}", None),
    ("GET", "/webhooks/{webhook}/deliveries", None),
    ("POST", "/webhooks/{webhook}/deliveries/{delivery}/redeliver", None),
)


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS, ids=[f"{method} {path}" for method, path, _ in REQUESTS])
async def test_nobody_else_passes(
    method: str, path: str, body: Any, api: httpx.AsyncClient, world: World, hooks: Hooks
):
    webhook = await hooks.webhook("https://8.8.8.8/")
    delivery = await hooks.queue(webhook)
    await hooks.set("webhook_deliveries", delivery, state="'failed'")
    others = [await world.patient(), await world.doctor(), await world.staff()]
    admin = await world.admin()
    address, before = path.format(webhook=webhook, delivery=delivery), await digest(hooks.owner)
    refusal(await api.request(method, address, json=body), "AUTHENTICATION_ERROR")
    for person in others:
        refusal(await api.request(method, address, json=body, headers=person.headers), "AUTHORIZATION_ERROR")
    assert await digest(hooks.owner) == before
    assert (await api.request(method, address, json=body, headers=admin.headers)).is_success
