"""The queues in figures: right, about nobody, and only where the operator shows them."""

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from health_services.main import create_app
from health_services.monitoring.service import summary
from health_services.outgoing.errors import NotNow
from health_services.serving import at_address
from tests.api.answers import refusal
from tests.conftest import test_settings
from tests.factories import World, soon
from tests.notifications.ledger import BOOKED, Carrier, Ledger, book, failing
from tests.servers import TestDatabase
from tests.webhooks.hooks import Hooks

METRICS, READY = "http://test/metrics", "http://test/readyz"
QUEUES = [("notifications", "email"), ("notifications", "push"), ("notifications", "sms"), ("webhooks", "http")]
FIGURES = ("due", "retrying", "queued", "failed", "oldest_due_seconds")
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
    assert found.keys() == set(FIGURES)
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
    assert await figures(api) == {name: dict.fromkeys(QUEUES, 0.0) for name in FIGURES}
    assert await ready(api) == {"due": 0, "retrying": 0, "failed": 0, "oldest_due_seconds": 0.0}


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
        "due": 0, "retrying": 0, "queued": 0, "failed": 1, "oldest_due_seconds": 0,
    }  # fmt: skip
    summary = await ready(api)
    assert (summary["due"], summary["failed"]) == (found["due"][mail], 2)
    assert 3600 <= summary["oldest_due_seconds"] < 3700


async def test_what_is_claimed_is_on_its_way(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, shown: None
):
    ledger = Ledger(owner, app)
    await book(api, world, await world.patient(), soon() + timedelta(days=3))
    assert len(await ledger.sender(Carrier()).take(5)) == 1
    found = await figures(api)
    assert [found[name][QUEUES[0]] for name in ("queued", "due", "retrying")] == [3, 0, 1]


async def test_a_mail_server_that_is_down_for_a_day_is_seen(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, shown: None
):
    """Whatever was tried in vain waits for its next attempt, and no worker has anything to take."""
    ledger, patient = Ledger(owner, app), await world.patient()
    for _ in range(2):
        await book(api, world, patient, soon() + timedelta(days=3))
    for row in await ledger.rows(kind=BOOKED):
        await ledger.set(row["id"], due_at="now() - interval '1 day'")
    assert await ledger.send(failing(NotNow("the mail server does not answer"))) == 2
    found = await figures(api)
    assert [found[name][QUEUES[0]] for name in ("due", "retrying", "queued")] == [0, 2, 6]
    assert 86400 <= found["oldest_due_seconds"][QUEUES[0]] < 86500
    summary = await ready(api)
    assert (summary["due"], summary["retrying"]) == (0, 2)
    assert 86400 <= summary["oldest_due_seconds"] < 86500


async def test_a_reminder_that_waits_for_the_morning_is_not_late(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, shown: None
):
    """It came too late for the evening; its person has quiet hours, and nothing is wrong with the gateway."""
    ledger, patient = Ledger(owner, app), await world.patient()
    appointment = await book(api, world, patient, soon() + timedelta(days=3))
    reminder = (await ledger.rows(appointment_id=appointment, lead_minutes=1440))[0]["id"]
    await ledger.make_due(reminder)
    await ledger.set(reminder, due_at="now() - interval '1 hour'")
    await ledger.wish(
        patient, quiet_from="(now() - interval '3 hours')::time", quiet_until="(now() + interval '2 hours')::time"
    )
    carrier = Carrier()
    assert await ledger.send(carrier) == 2
    assert carrier.sent() == [(BOOKED, None)]
    found = await figures(api)
    assert [found[name][QUEUES[0]] for name in ("due", "retrying", "oldest_due_seconds")] == [0, 0, 0]


async def test_deliveries(api: httpx.AsyncClient, app: FastAPI, owner: asyncpg.Connection, shown: None):
    """Those of a webhook that is off wait for nobody; what was given up is to be looked at all the same."""
    hooks = Hooks(owner, app)
    on, off = await hooks.webhook("https://8.8.8.8/"), await hooks.webhook("https://8.8.8.8/", is_active=False)
    late, later, failed, tried = [await hooks.queue(on) for _ in range(4)]
    waiting, given_up = await hooks.queue(off), await hooks.queue(off)
    await hooks.set("webhook_deliveries", late, next_attempt_at="now() - interval '2 hours'")
    await hooks.set("webhook_deliveries", later, next_attempt_at="now() + interval '2 hours'")
    await hooks.set("webhook_deliveries", waiting, next_attempt_at="now() - interval '9 hours'")
    await hooks.set("webhook_deliveries", waiting, attempts="9", created_at="now() - interval '20 hours'")
    await hooks.set("webhook_deliveries", tried, attempts="5", created_at="now() - interval '8 hours'")
    await hooks.set("webhook_deliveries", tried, next_attempt_at="now() + interval '1 hour'")
    for delivery in (failed, given_up):
        await hooks.set("webhook_deliveries", delivery, state="'failed'")
    found = await figures(api)
    values = {name: found[name][QUEUES[3]] for name in ("due", "retrying", "queued", "failed")}
    assert values == {"due": 1, "retrying": 1, "queued": 3, "failed": 2}
    assert 28800 <= found["oldest_due_seconds"][QUEUES[3]] < 28900
    await hooks.set("webhook_deliveries", tried, state="'sent'")
    assert 7200 <= (await figures(api))["oldest_due_seconds"][QUEUES[3]] < 7300
    summary = await ready(api)
    assert (summary["due"], summary["retrying"], summary["failed"]) == (1, 0, 2)


async def test_tables_that_somebody_holds_are_not_waited_for(
    api: httpx.AsyncClient, database: TestDatabase, owner: asyncpg.Connection, shown: None
):
    """The server serves all the same; it knows nothing of the messages then."""
    somebody = await asyncpg.connect(database.owner_url)
    try:
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE notifications")
            answer = await asyncio.wait_for(api.get(READY), 20)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok", "messages": None})
            refusal(await asyncio.wait_for(api.get(METRICS), 20), "UNAVAILABLE")
    finally:
        await somebody.close()
    assert await ready(api) == {"due": 0, "retrying": 0, "failed": 0, "oldest_due_seconds": 0.0}


async def test_connections_that_are_all_in_use_are_not_waited_for(database: TestDatabase, owner: asyncpg.Connection):
    settings = test_settings(database.app_url).model_copy(update={"database_pool_size": 1})
    application = create_app(settings)
    try:
        async with application.state.database.writing() as session:
            await session.execute(text("SELECT 1"))
            assert await asyncio.wait_for(summary(application.state.database), 20) is None
        assert await summary(application.state.database) is not None
    finally:
        application.state.gate.passwords.close()
        await application.state.database.close()


async def test_nothing_is_about_a_person(api: httpx.AsyncClient, world: World, shown: None):
    patient = await world.patient(user={"name": "Carla Jones", "email": "carla@home.net", "mobile_no": "+1 555 0199"})
    await book(api, world, patient, soon() + timedelta(days=3))
    for path in (METRICS, READY):
        text = (await api.get(path)).text
        assert not re.search(r"Carla|Jones|home|555|user|patient|appointment|@", text)
