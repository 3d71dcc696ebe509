"""Every error has one form, also those that no endpoint raises."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError, ProgrammingError

from health_services.clinics.repository import ClinicRepository
from health_services.database.session import LeanSession
from tests.api.answers import digest, refusal
from tests.factories import World, booking, soon

SECRET = "Jane Roe, jane@example.org, 5550100"


@pytest.mark.parametrize("path", [
    "/", "/clinicz", "/clinics/", "/clinics/1/", "/clinics/1/doctors/2", "//clinics", "/../../etc/passwd", "/%00",
    "/%ff%fe", "/auth", "/slots/1/2", "/" + "x" * 5000,
])  # fmt: skip
async def test_unknown_paths(api: httpx.AsyncClient, path: str):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        refusal(await api.request(method, path), "RESOURCE_NOT_FOUND")


async def test_paths_outside_the_api(api: httpx.AsyncClient):
    for path in (
        "/",
        "/api",
        "/api/v1",
        "/api/v2/clinics",
        "/clinics",
        "/redoc",
        "/docs/nothing",
        "/docs/assets/no.js",
    ):
        refusal(await api.get(f"http://test{path}"), "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/auth/register", "POST"),
        ("/auth/profile", "GET"),
        ("/clinics", "GET, POST"),
        ("/clinics/1", "GET, PUT"),
        ("/clinics/1/staff/2", "DELETE"),
        ("/doctors/1/appointments", "GET"),
        ("/slots/1", "DELETE, GET"),
        ("/patients/1", "GET, PUT"),
        ("/appointments/1/cancel", "POST"),
        ("http://test/healthz", "GET"),
        ("http://test/docs", "GET"),
        ("http://test/openapi.json", "GET"),
    ],
)
async def test_wrong_methods(api: httpx.AsyncClient, path: str, allowed: str):
    for method in {"PATCH", "TRACE", "PROPFIND"} | {"GET", "POST", "PUT", "DELETE"} - set(allowed.split(", ")):
        answer = await api.request(method, path)
        if answer.status_code == 404 and method != "PATCH":  # /patients/search and the like are other addresses
            continue
        refusal(answer, "METHOD_NOT_ALLOWED")
        named = {name for name in answer.headers["allow"].split(", ") if name != "HEAD"}
        assert named == set(allowed.split(", ")), method


async def test_refusals_come_in_order(api: httpx.AsyncClient, world: World):
    doctor, patient, other = await world.doctor(), await world.patient(), await world.patient()
    admin, past = await world.admin(), await world.slot(await world.doctor(), soon() - timedelta(days=3))
    bad = {"surprise": 1}
    refusal(await api.post("/clinics?x=1", json=bad), "AUTHENTICATION_ERROR")
    refusal(await api.post("/clinics?x=1", json=bad, headers=patient.headers), "AUTHORIZATION_ERROR")
    refusal(await api.post("/clinics?x=1", json=bad, headers=admin.headers), "VALIDATION_ERROR", "x")
    refusal(await api.put("/patients/999", json=bad, headers=patient.headers), "VALIDATION_ERROR", "surprise")
    refusal(await api.put("/patients/999", json={}, headers=patient.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.put(f"/patients/{other.patient_id}", json={}, headers=patient.headers), "AUTHORIZATION_ERROR")
    body = booking(other, doctor, past)
    refusal(await api.post("/appointments/book", json=body, headers=patient.headers), "AUTHORIZATION_ERROR")
    refusal(
        await api.post("/appointments/book", json=body | {"slot_id": 999}, headers=patient.headers),
        "RESOURCE_NOT_FOUND",
    )


def broken(error: BaseException) -> Any:
    """A repository's method that fails so."""

    async def fail(*_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        AssertionError(SECRET),
        KeyError(SECRET),
        RecursionError(SECRET),
        UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET),
        ProgrammingError(f"SELECT {SECRET}", {}, Exception(SECRET)),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
    ],
)
async def test_a_crash_tells_nothing(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception):
    monkeypatch.setattr(ClinicRepository, "active", broken(error))
    answer = await api.get("/clinics", headers={"X-Request-ID": "crash-1234"})
    body = refusal(answer, "INTERNAL_ERROR")
    assert body["detail"] == "Something went wrong on our side. Please try again."
    assert answer.headers["x-request-id"] == "crash-1234"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for word in ("Jane", "5550100", "SELECT", "/", "Traceback", type(error).__name__):
        assert word not in body["detail"]
        assert word not in answer.text.replace("/problems/", "")


async def test_a_crash_in_a_write_leaves_nothing(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    admin = await world.admin()
    add = ClinicRepository.add

    async def add_and_fail(repository: ClinicRepository, clinic: Any) -> None:
        await add(repository, clinic)
        raise RuntimeError(SECRET)

    monkeypatch.setattr(ClinicRepository, "add", add_and_fail)
    before = await digest(owner)
    refusal(await api.post("/clinics", json={"name": "x"}, headers=admin.headers), "INTERNAL_ERROR")
    assert await digest(owner) == before


async def test_what_does_not_answer_now_is_503(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    class Gone(Exception):
        sqlstate = "57P01"

    for error in (ConnectionRefusedError(SECRET), TimeoutError(SECRET), OperationalError(SECRET, {}, Gone(SECRET))):
        monkeypatch.setattr(ClinicRepository, "active", broken(error))
        answer = await api.get("/clinics")
        refusal(answer, "UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0
        assert "Jane" not in answer.text


async def test_a_failing_commit_is_not_a_success(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    admin = await world.admin()
    before = await digest(owner)
    monkeypatch.setattr(LeanSession, "commit", broken(RuntimeError(SECRET)))
    refusal(await api.post("/clinics", json={"name": "x"}, headers=admin.headers), "INTERNAL_ERROR")
    await asyncio.sleep(0)
    assert await digest(owner) == before
