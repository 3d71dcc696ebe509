"""The address of a feed: made, replaced, taken back; it is the whole right, and stands nowhere but in its answer."""

import hashlib
import io
import re
from datetime import UTC, datetime
from urllib.parse import quote

import asyncpg
import httpx
import pytest
import structlog
from fastapi import FastAPI

from health_services.api import middleware
from tests.api.answers import instant, refusal, shape
from tests.calendars.conftest import Subscribe
from tests.factories import World

FEED = "/users/me/calendar-feed"


@pytest.mark.parametrize("role", ["patient", "doctor", "staff", "admin"])
async def test_its_life(api: httpx.AsyncClient, world: World, role: str):
    headers = (await world.user(role)).headers
    refusal(await api.get(FEED, headers=headers), "RESOURCE_NOT_FOUND")
    before = datetime.now(UTC)
    made = await api.post(FEED, headers=headers)
    assert made.status_code == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    body = shape(made.json(), {"url", "token"})
    assert body["url"] == f"http://test/api/v1/calendar/{body['token']}.ics"
    seen = await api.get(FEED, headers=headers)
    assert before <= instant(shape(seen.json(), {"created_at"})["created_at"]) <= datetime.now(UTC)
    feed = await api.get(body["url"])
    assert (feed.status_code, feed.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert feed.text.startswith("BEGIN:VCALENDAR\r\n")

    assert (await api.delete(FEED, headers=headers)).status_code == 204
    refusal(await api.get(body["url"]), "RESOURCE_NOT_FOUND")
    refusal(await api.get(FEED, headers=headers), "RESOURCE_NOT_FOUND")
    assert (await api.delete(FEED, headers=headers)).status_code == 204


async def test_a_new_one_ends_the_one_before(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    patient = await world.patient()
    first = await subscribe(patient)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    await owner.execute("UPDATE calendar_feeds SET created_at = $1", long_ago)
    second = await subscribe(patient)
    refusal(await api.get(first), "RESOURCE_NOT_FOUND")
    assert (await api.get(second)).status_code == 200
    assert instant((await api.get(FEED, headers=patient.headers)).json()["created_at"]) > long_ago


async def test_everybody_has_his_own(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    patients = await world.patients(3)
    paths = [await subscribe(patient) for patient in patients]
    assert len(set(paths)) == 3
    await api.delete(FEED, headers=patients[0].headers)
    assert [(await api.get(path)).status_code for path in paths] == [404, 200, 200]


async def test_only_a_hash_of_the_token_is_kept(world: World, owner: asyncpg.Connection, subscribe: Subscribe):
    patient = await world.patient()
    token = (await subscribe(patient)).removeprefix("/calendar/").removesuffix(".ics")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token), "256 random bits"
    (row,) = await owner.fetch("SELECT user_id, token_hash FROM calendar_feeds")
    assert tuple(row) == (patient.user_id, hashlib.sha256(token.encode()).digest())


async def test_the_same_request_sent_again_gets_the_same_token(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    headers = (await world.patient()).headers | {"Idempotency-Key": "feed"}
    first, again = await api.post(FEED, headers=headers), await api.post(FEED, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.json()) == (201, first.json())
    assert (await api.get(first.json()["url"])).status_code == 200
    kept = await owner.fetchval("SELECT string_agg(k::text, '') FROM idempotency_keys k")
    assert first.json()["token"].encode().hex() not in kept


@pytest.mark.parametrize("base", ["https://health.example.org", "https://example.org/health/"])
async def test_it_begins_with_the_public_url(app: FastAPI, api: httpx.AsyncClient, world: World, base: str):
    patient, before = await world.patient(), app.state.settings
    app.state.settings = before.model_copy(update={"public_url": base})
    try:
        made = (await api.post(FEED, headers=patient.headers)).json()
    finally:
        app.state.settings = before
    assert made["url"] == f"{base.rstrip('/')}/api/v1/calendar/{made['token']}.ics"


async def test_whatever_opens_nothing_is_refused_alike(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    patient, inactive, ended = await world.patients(3)
    path, gone, over = [await subscribe(person) for person in (patient, inactive, ended)]
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", inactive.user_id)
    await api.delete(FEED, headers=ended.headers)
    token = path.removeprefix("/calendar/").removesuffix(".ics")
    stored = (await owner.fetchval("SELECT token_hash FROM calendar_feeds WHERE user_id = $1", patient.user_id)).hex()
    wrong = [
        f"/calendar/{token.swapcase()}.ics", f"/calendar/{token[:-1]}.ics",
        f"{path}.ics", path.replace(".ics", "x.ics"), path.replace(".ics", ""), path + "/",
        f"/calendar/{stored}.ics", "/calendar/1.ics", "/calendar/%00.ics", "/calendar/%2e.ics", "/calendar/.ics",
        "/calendar/%ff%fe.ics", "/calendar/%ED%A0%80.ics", f"/calendar/{'x' * 6000}.ics", "/calendar/*.ics",
        f"/calendar/{quote(chr(0x1F600))}.ics", "/calendar/' OR 1=1--.ics",
    ]  # fmt: skip
    answers = [await api.get(address) for address in (gone, over, *wrong)]
    bodies = [refusal(answer, "RESOURCE_NOT_FOUND") | {"timestamp": ""} for answer in answers]
    assert bodies == [bodies[0]] * len(bodies)
    assert all("etag" not in answer.headers for answer in answers)
    assert (await api.get(path)).status_code == 200


async def test_the_feed_asks_for_no_token_but_its_own(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    patient, other = await world.patients(2)
    path = await subscribe(patient)
    for headers in (other.headers, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        assert (await api.get(path, headers=headers)).status_code == 200
    token = path.removeprefix("/calendar/").removesuffix(".ics")
    for method, address in (("GET", "/auth/profile"), ("GET", FEED), ("POST", FEED), ("DELETE", FEED)):
        refused = await api.request(method, address, headers={"Authorization": f"Bearer {token}"})
        refusal(refused, "AUTHENTICATION_ERROR")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await api.request(method, path)).status_code == 405


@pytest.mark.parametrize("as_text", [False, True])
async def test_no_line_of_the_log_holds_it(
    api: httpx.AsyncClient, world: World, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch, as_text: bool
):
    before, written = structlog.get_config(), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    middleware.configure_logging("debug", as_text=as_text)
    monkeypatch.setattr(middleware, "log", structlog.get_logger("health_services.http"))
    try:
        patient = await world.patient()
        path = await subscribe(patient)
        token = path.removeprefix("/calendar/").removesuffix(".ics")
        addresses = [path, f"{path}?x={token}", f"{path}?{token}=1", f"{path}/", f"/calendar/{token}", f"{path}.ics",
                     f"/calendar/x{path.removeprefix('/calendar/')}", f"/calendar//{token}.ics"]  # fmt: skip
        statuses = {(await api.get(address)).status_code for address in addresses}
        statuses |= {(await api.request(method, path)).status_code for method in ("HEAD", "POST", "DELETE")}
        statuses.add((await api.get("/calendar/1234567.ics")).status_code)
    finally:
        structlog.configure(**before)
    assert statuses == {200, 400, 404, 405}
    log = written.getvalue().replace("\\u2026", "…")
    assert token not in log
    assert "1234567" not in log
    assert log.count("/api/v1/calendar/…") >= 6
    assert log.count("/api/v1/users/me/calendar-feed") == 1


async def test_the_document_tells_of_calendars(app: FastAPI):
    paths = app.openapi()["paths"]
    for path in ("/api/v1/calendar/{token}.ics", "/api/v1/appointments/{appointment_id}/calendar.ics"):
        shown = paths[path]["get"]["responses"]["200"]["content"]
        assert list(shown) == ["text/calendar"]
        assert shown["text/calendar"]["schema"] == {"type": "string"}
        assert shown["text/calendar"]["example"].startswith("BEGIN:VCALENDAR\r\n")
    feed = paths["/api/v1/calendar/{token}.ics"]["get"]
    assert "security" not in feed
    assert {"304", "404"} <= feed["responses"].keys()
