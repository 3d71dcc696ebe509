"""The queues in figures: right, about nobody, and only where the operator shows them."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from health_services.serving import at_address
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.factories import World, soon
from tests.notifications.ledger import Carrier, Ledger, book
from tests.webhooks.hooks import Hooks

METRICS, READY = "http://test/metrics", "http://test/readyz"
QUEUES = [("notifications", "email"), ("notifications", "push"), ("notifications", "sms"), ("webhooks", "http")]
Figures = dict[str, dict[tuple[str, str], float]]


@pytest.fixture
def shown(app: FastAPI) -> Iterator[None]:
    """The operator lets everybody see them."""
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"metrics": "on"})
    yield
    app.state.settings = settings


async def figures(api: httpx.AsyncClient) -> Figures:
    """What Prometheus reads: each figure of each queue."""
    answer = await api.get(METRICS)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        assert (family.type, bool(family.documentation)) == ("gauge", True)
        short = family.name.removeprefix("health_messages_")
        found[short] = {(s.labels["queue"], s.labels["channel"]): s.value for s in family.samples}
        assert sorted(found[short]) == QUEUES
        assert len(family.samples) == len(QUEUES)
    assert found.keys() == {"due", "queued", "failed", "oldest_due_seconds"}
    return found


async def ready(api: httpx.AsyncClient) -> dict[str, Any]:
    answer = await api.get(READY)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json().keys() == {"status", "messages"}
    found: dict[str, Any] = answer.json()["messages"]
    return found


async def test_not_without_the_operators_will(api: httpx.AsyncClient, world: World):
    refusal(await api.get(METRICS), "RESOURCE_NOT_FOUND")
    refusal(await api.get(METRICS, headers=(await world.admin()).headers), "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "on"), ("127.8.8.8", "on"), ("::1", "on"),
        ("0.0.0.0", "off"), ("::", "off"), ("10.0.0.7", "off"), ("192.168.1.7", "off"), ("fe80::1%eth0", "off"),
        ("8.8.8.8", "off"),
    ],
)  # fmt: skip
def test_without_a_setting_only_this_machine_sees_them(host: str, shown: str):
    settings = test_settings("postgresql://nowhere/none")
    assert at_address(settings, host, 8000).metrics == shown
    for said in ("on", "off"):
        chosen = settings.model_copy(update={"metrics": said})
        assert at_address(chosen, host, 8000).metrics == said


def test_links_lead_to_the_port_unless_the_operator_says_where():
    settings = test_settings("postgresql://nowhere/none")
    assert at_address(settings, "0.0.0.0", 8123).public_url == "http://localhost:8123"
    said = settings.model_copy(update={"public_url": "https://health.example.org"})
    assert at_address(said, "0.0.0.0", 8123).public_url == "https://health.example.org"


async def test_nothing_waits(api: httpx.AsyncClient, shown: None):
    assert await figures(api) == {
        name: dict.fromkeys(QUEUES, 0.0) for name in ("due", "queued", "failed", "oldest_due_seconds")
    }
    assert await ready(api) == {"due": 0, "failed": 0, "oldest_due_seconds": 0.0}


async def test_messages(api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, shown: None):
    """Three on their way by mail, one of them due for long; two given up, one sent, one dropped."""
    ledger, patient = Ledger(owner, app), await world.patient()
    for _ in range(3):
        await book(api, world, patient, soon() + timedelta(days=3))
    late, _, _, gone_by_mail, gone_by_sms, sent, _, dropped, _ = await ledger.rows()
    await ledger.set(late["id"], next_attempt_at="now() - interval '1 hour'")
    await ledger.set(gone_by_mail["id"], state="'failed'")
    await ledger.set(gone_by_sms["id"], state="'failed'", channel="'sms'")
    await ledger.set(sent["id"], state="'sent'", next_attempt_at="now() - interval '9 hours'")
    await ledger.set(dropped["id"], state="'skipped'", next_attempt_at="now() - interval '9 hours'")
    found = await figures(api)
    mail, sms = QUEUES[0], QUEUES[2]
    assert {name: found[name][mail] for name in ("queued", "failed")} == {"queued": 5, "failed": 1}
    assert found["due"][mail] == len([row for row in await ledger.rows(state="queued") if row["lead_minutes"] is None])
    assert 3600 <= found["oldest_due_seconds"][mail] < 3700
    assert {name: values[sms] for name, values in found.items()} == {
        "due": 0, "queued": 0, "failed": 1, "oldest_due_seconds": 0,
    }  # fmt: skip
    summary = await ready(api)
    assert (summary["due"], summary["failed"]) == (found["due"][mail], 2)
    assert 3600 <= summary["oldest_due_seconds"] < 3700


async def test_what_is_claimed_is_not_late(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, shown: None
):
    ledger = Ledger(owner, app)
    await book(api, world, await world.patient(), soon() + timedelta(days=3))
    assert len(await ledger.sender(Carrier()).take(5)) == 1
    found = await figures(api)
    assert (found["queued"][QUEUES[0]], found["due"][QUEUES[0]]) == (3, 0)
    assert found["oldest_due_seconds"][QUEUES[0]] == 0


async def test_deliveries(api: httpx.AsyncClient, app: FastAPI, owner: asyncpg.Connection, shown: None):
    """Those of a webhook that is off wait for nobody; what was given up is to be looked at all the same."""
    hooks = Hooks(owner, app)
    on, off = await hooks.webhook("https://8.8.8.8/"), await hooks.webhook("https://8.8.8.8/", is_active=False)
    late, later, failed = [await hooks.queue(on) for _ in range(3)]
    waiting, given_up = await hooks.queue(off), await hooks.queue(off)
    await hooks.set("webhook_deliveries", late, next_attempt_at="now() - interval '2 hours'")
    await hooks.set("webhook_deliveries", later, next_attempt_at="now() + interval '2 hours'")
    await hooks.set("webhook_deliveries", waiting, next_attempt_at="now() - interval '9 hours'")
    for delivery in (failed, given_up):
        await hooks.set("webhook_deliveries", delivery, state="'failed'")
    found = await figures(api)
    values = {name: found[name][QUEUES[3]] for name in ("due", "queued", "failed")}
    assert values == {"due": 1, "queued": 2, "failed": 2}
    assert 7200 <= found["oldest_due_seconds"][QUEUES[3]] < 7300
    summary = await ready(api)
    assert (summary["due"], summary["failed"]) == (1, 2)


async def test_nothing_is_about_a_person(api: httpx.AsyncClient, world: World, shown: None):
    patient = await world.patient(user={"name": "Carla Jones", "email": "carla@home.net", "mobile_no": "+1 555 0199"})
    await book(api, world, patient, soon() + timedelta(days=3))
    for path in (METRICS, READY):
        text = (await api.get(path)).text
        assert not re.search(r"Carla|Jones|home|555|user|patient|appointment|@", text)
