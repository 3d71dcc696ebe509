"""Every request of docs/access.md as every caller leaves exactly one row in the audit, or none where it is public."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from health_services.access.permissions import rule_of
from health_services.access.trail import outcome_of
from health_services.main import API_PREFIX, ROUTERS
from health_services.users.models import Role
from tests import test_access_matrix as matrix
from tests.factories import Person, World

AUDITED = {
    f"{method} {API_PREFIX}{route.path}": (route.name, rule_of(route.endpoint))
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and rule_of(route.endpoint).is_audited
    for method in route.methods or ()
}
ROLES = {Role.PATIENT: "patient", Role.DOCTOR: "doctor", Role.STAFF: "staff", Role.ADMIN: "administrator"}
# What is sent proves who it is, or a door looks at no token: whose request it is follows from that.
KNOWN_BY_TOKEN = {row.request for row in matrix.ROWS if row.statuses["anonymous"] == 401}
password_hash = matrix.password_hash


async def rows(owner: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await owner.fetch("SELECT * FROM audit_log ORDER BY id")]


@pytest.mark.parametrize("row", matrix.ROWS, ids=str)
async def test_one_row_for_each_request(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, password_hash: str, row: matrix.Row
):
    make_body = matrix.BODIES.get((row.request, row.variant), lambda _: None)
    cast = await matrix._stage(world, app, row, password_hash)
    for column in matrix.CALLERS:
        before, person = await rows(owner), cast.caller(column)
        path = f"http://test{row.path.format(**cast.ids)}"
        headers = {"X-Request-ID": f"asked-as-{column.replace(' ', '-')}"} | (person.headers if person else {})
        answer = await api.request(row.method, path, json=make_body(cast), headers=headers)
        assert answer.status_code == row.statuses[column]
        after = await rows(owner)
        assert after[: len(before)] == before
        told = after[len(before) :]
        assert len(told) == (row.request in AUDITED), f"{column}: {answer.status_code}, {told}"
        for entry in told:
            _check(entry, row, answer, person)
            if row.path.startswith("/api/v1/patients/{patient_id}") and _comes_in(row, column):
                assert cast.patient.patient_id in entry["patient_ids"]
                assert entry["object"] == f"patient:{cast.patient.patient_id}"
        if answer.is_success and row.method != "GET":  # the next one is to find everything untouched
            cast = await matrix._stage(world, app, row, password_hash)


def _comes_in(row: matrix.Row, column: str) -> bool:
    """Whether his role lets the caller through the door, so that only then it is asked whose data it is."""
    return any(ROLES[role] in column.split() for role in AUDITED[row.request][1].roles)


def _check(told: dict[str, Any], row: matrix.Row, answer: httpx.Response, person: Person | None) -> None:
    assert told["action"] == AUDITED[row.request][0]
    assert (told["status"], told["outcome"]) == (answer.status_code, outcome_of(answer.status_code))
    assert told["request_id"] == answer.headers["X-Request-ID"]
    assert told["address"] == "127.0.0.1"
    assert timedelta() <= datetime.now(UTC) - told["at"] < timedelta(minutes=5)
    if row.request in KNOWN_BY_TOKEN:
        assert told["user_id"] == (person.user_id if person else None)
        assert (told["via"] is not None) == (person is not None)


def test_only_what_is_about_nobody_is_not_audited():
    open_doors = {row.request for row in matrix.ROWS} - AUDITED.keys()
    assert open_doors == {
        "GET /api/v1/doctors", "GET /api/v1/doctors/{doctor_id}", "GET /api/v1/clinics",
        "GET /api/v1/clinics/{clinic_id}", "GET /api/v1/clinics/{clinic_id}/doctors", "GET /api/v1/slots",
        "GET /api/v1/slots/{slot_id}", "GET /api/v1/push/key",
        "GET /healthz", "GET /readyz", "GET /metrics", "GET /.well-known/security.txt",
        "GET /verify-email", "GET /reset-password", "GET /accept-invitation", "GET /account-pages.js",
    }  # fmt: skip
