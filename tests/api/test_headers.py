"""Headers: safe on every kind of answer, nothing personal kept by a cache, the directory cheap to ask again."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from health_services.clinics.repository import ClinicRepository
from health_services.main import create_app
from tests.conftest import test_settings
from tests.factories import World
from tests.servers import TestDatabase

SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
ORIGIN = "https://app.example.org"


def assert_safe(answer: httpx.Response) -> None:
    """It has every safe header once, a policy, and an id."""
    for name, value in SAFE.items():
        assert answer.headers.get_list(name) == [value], (answer.request.url, name)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert len(answer.headers.get_list("cache-control")) == 1
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers


async def test_every_kind_of_answer_is_safe(api: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch):
    admin, patient, staff = await world.admin(), await world.patient(), await world.staff()
    clinic = await api.get(f"/clinics/{staff.clinic_id}")
    answers = [
        clinic,
        await api.get(f"/clinics/{staff.clinic_id}", headers={"If-None-Match": clinic.headers["etag"]}),
        await api.post("/clinics", json={"name": "x"}, headers=admin.headers),
        await api.delete(f"/clinics/{staff.clinic_id}/staff/{staff.user_id}", headers=admin.headers),
        await api.post("/clinics", json={}, headers=admin.headers),
        await api.get("/auth/profile"),
        await api.post("/clinics", json={}, headers=patient.headers),
        await api.get("/nothing"),
        await api.patch("/clinics"),
        await api.post("/clinics", content=b"x" * (1 << 21), headers=admin.headers),
        await api.post("/clinics", content=b"x", headers=admin.headers),
        await api.put(f"/doctors/{(await world.doctor(license_number='A')).doctor_id}", json={"license_number": "B"}),
        *[
            await api.get(f"http://test/{path}")
            for path in ("healthz", "readyz", "openapi.json", "docs", "docs/start.js")
        ],
        await api.get("http://test/docs/assets/swagger-ui.css"),
        await api.get("http://test/docs/assets/none.css"),
    ]

    async def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(ClinicRepository, "active", fail)
    answers.append(await api.get("/clinics"))
    statuses = {answer.status_code for answer in answers}
    assert statuses >= {200, 201, 204, 304, 400, 401, 403, 404, 405, 413, 415, 500}
    for answer in answers:
        assert_safe(answer)


async def test_only_the_directory_may_be_kept(api: httpx.AsyncClient, world: World):
    admin, doctor, patient = await world.admin(), await world.doctor(), await world.patient()
    slot, appointment = await world.slot(doctor), await world.appointment(patient, doctor)
    kept = ("/clinics", f"/clinics/{doctor.clinic_id}", f"/clinics/{doctor.clinic_id}/doctors", "/doctors",
            f"/doctors/{doctor.doctor_id}", "/slots", f"/slots/{slot}")  # fmt: skip
    for path in kept:
        answer = await api.get(path)
        assert (answer.headers["cache-control"], answer.status_code) == ("public, no-cache", 200), path
        assert answer.headers["etag"]
        for missing in (await api.get(path + "?x=1"), await api.get("/slots/999")):
            assert missing.headers["cache-control"] == "no-store"
            assert "etag" not in missing.headers
    for path in (
        "/auth/profile", f"/patients/{patient.patient_id}", f"/patients/{patient.patient_id}/appointments",
        f"/doctors/{doctor.doctor_id}/appointments", "/appointments", f"/appointments/{appointment}",
        f"/clinics/{doctor.clinic_id}/staff",
    ):  # fmt: skip
        answer = await api.get(path, headers=admin.headers)
        assert (answer.headers["cache-control"], answer.status_code) == ("no-store", 200), path
        assert "etag" not in answer.headers
    for answer in (
        await api.post("/clinics", json={"name": "x"}, headers=admin.headers),
        await api.post(f"/appointments/{appointment}/cancel", headers=admin.headers),
        await api.post("/patients/search", json={"query": "person"}, headers=admin.headers),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.is_success


async def test_what_did_not_change_is_not_sent_again(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    slot = await world.slot(doctor)
    for path, change in (
        (f"/clinics/{doctor.clinic_id}", ("PUT", f"/clinics/{doctor.clinic_id}", {"city": "Bath"})),
        ("/clinics", ("PUT", f"/clinics/{doctor.clinic_id}", {"city": "Leeds"})),
        ("/doctors", ("PUT", f"/doctors/{doctor.doctor_id}", {"specialty": "Surgery"})),
        (f"/clinics/{doctor.clinic_id}/doctors", ("PUT", f"/doctors/{doctor.doctor_id}", {"experience_years": 9})),
        ("/slots", ("DELETE", f"/slots/{slot}", None)),
    ):
        first = await api.get(path)
        etag = first.headers["etag"]
        strong = etag.removeprefix("W/")
        for asked in (etag, strong, "*", f'"other", {etag}', f'W/"other" ,{strong}', f"{etag},{etag}"):
            same = await api.get(path, headers={"If-None-Match": asked})
            assert (same.status_code, same.content) == (304, b""), asked
            assert same.headers["etag"] == etag
            assert same.headers["cache-control"] == "public, no-cache"
        for asked in ('"other"', 'W/"other"', "", strong.strip('"'), etag[:-2] + '"'):
            assert (await api.get(path, headers={"If-None-Match": asked})).status_code == 200, asked
        method, address, body = change
        assert (await api.request(method, address, json=body, headers=admin.headers)).is_success
        changed = await api.get(path, headers={"If-None-Match": etag})
        assert changed.status_code == 200, path
        assert changed.headers["etag"] != etag
        assert changed.json() != first.json()


async def test_a_page_that_gets_a_next_one_has_changed(api: httpx.AsyncClient, world: World):
    await world.clinic()
    first = await api.get("/clinics?limit=1")
    assert "link" not in first.headers
    await world.clinic()
    again = await api.get("/clinics?limit=1", headers={"If-None-Match": first.headers["etag"]})
    assert "link" in again.headers, "who keeps the first answer must learn of the next page"


@pytest.fixture
async def page(database: TestDatabase, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that one web page may call."""
    settings = test_settings(database.app_url).model_copy(update={"cors_origins": [ORIGIN]})
    app: FastAPI = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client
    app.state.gate.passwords.close()
    await app.state.database.close()


def asked(
    method: str, headers: str = "authorization,content-type,idempotency-key", origin: str = ORIGIN
) -> dict[str, str]:
    """What a browser asks before the request."""
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}


async def test_the_configured_page_may_call(page: httpx.AsyncClient):
    answer = await page.get("/clinics", headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "origin" in answer.headers["vary"].lower()
    exposed = answer.headers["access-control-expose-headers"].lower()
    assert {"link", "etag", "x-request-id", "retry-after"} <= {name.strip() for name in exposed.split(",")}
    assert "access-control-allow-credentials" not in answer.headers
    refused = await page.get("/auth/profile", headers={"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = await page.options("/patients/1", headers=asked(method))
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert method in answer.headers["access-control-allow-methods"]
        assert_safe(answer)


@pytest.mark.parametrize("origin", [
    "https://evil.example.org", "http://app.example.org", "https://app.example.org:8443", "null",
    "https://app.example.org.evil.com", "HTTPS://APP.EXAMPLE.ORG.", "https://sub.app.example.org",
])  # fmt: skip
async def test_no_other_page_may(page: httpx.AsyncClient, origin: str):
    answer = await page.get("/clinics", headers={"Origin": origin})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    for headers in (asked("GET", origin=origin), asked("PATCH"), asked("GET", "x-secret")):
        refused = await page.options("/clinics", headers=headers)
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert "access-control-allow-origin" not in refused.headers
        assert_safe(refused)


async def test_without_the_setting_nobody_may(api: httpx.AsyncClient):
    answer = await api.get("/clinics", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = await api.options("/clinics", headers=asked("GET"))
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


async def test_head_answers_like_get_without_the_body(api: httpx.AsyncClient, world: World):
    await world.clinic()
    shown = await api.get("/clinics")
    asked = await api.head("/clinics")
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-length"] == str(len(shown.content))
    assert asked.headers["etag"] == shown.headers["etag"]
    assert (await api.head("/appointments")).status_code == 401
