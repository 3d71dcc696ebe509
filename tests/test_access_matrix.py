"""Every request of docs/access.md as every caller, and every endpoint of the application in docs/access.md."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.notifications.models import Kind
from tests.access.cast import Cast, fingerprint, make_cast, make_invited, set_password
from tests.factories import World, booking, soon
from tests.push_subscriptions.conftest import browser
from tests.second_factors.staging import make_factors
from tests.sessions.staging import make_sign_ins

DOCUMENT = Path(__file__).parent.parent / "docs" / "access.md"
CALLERS = (
    "anonymous", "patient concerned", "other patient", "doctor concerned", "other doctor", "staff of the clinic",
    "staff of another clinic", "administrator",
)  # fmt: skip
PASSWORD = "three blue teapots"
NEW_PASSWORD = "four green kettles"
SIGNING_IN = tuple(
    f"/api/v1/auth/{name}" for name in ("refresh", "logout", "sessions", "reauthenticate", "password", "email")
)
READS_BY_POST = {"POST /api/v1/patients/search"}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """One request of the table, and the status that each caller gets."""

    request: str
    variant: str
    statuses: dict[str, int]

    @property
    def method(self) -> str:
        return self.request.split(" ")[0]

    @property
    def path(self) -> str:
        return self.request.split(" ")[1]

    def __str__(self) -> str:
        return f"{self.request} {self.variant}".strip().replace("/api/v1", "")


def read_table(text: str) -> list[Row]:
    """The rows of the one table that begins with the column «request»."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]
    start = next(place for place, cells in enumerate(lines) if cells[0] == "request")
    assert lines[start] == ["request", "with", *CALLERS]
    return [
        Row(cells[0], cells[1], dict(zip(CALLERS, map(int, cells[2:]), strict=True))) for cells in lines[start + 2 :]
    ]


def _account(role: str) -> Callable[[Cast], Any]:
    return lambda _: {
        "name": "Ada Wong",
        "email": f"new{next(_numbers)}@example.org",
        "password": PASSWORD,
        "role": role,
    }


def _slot(cast: Cast) -> dict[str, Any]:
    start = soon() + timedelta(days=400, hours=next(_numbers))
    return {"doctor_id": cast.doctor.doctor_id, "clinic_id": cast.doctor.clinic_id, "slot_datetime": start.isoformat()}


def _doctor(cast: Cast) -> dict[str, Any]:
    return {
        "user_id": cast.new_doctor.user_id,
        "clinic_id": cast.doctor.clinic_id,
        "specialty": "Cardiology",
        "license_number": f"NEW{next(_numbers)}",
    }


def _webhook(_: Cast) -> dict[str, Any]:
    return {"url": "https://8.8.8.8/", "events": ["slot.created"]}


def _invitation(role: str) -> Callable[[Cast], Any]:
    return lambda _: {"name": "Ada Wong", "email": f"new{next(_numbers)}@example.org", "role": role}


BODIES: dict[tuple[str, str], Callable[[Cast], Any]] = {
    ("POST /api/v1/auth/register", "role patient"): _account("patient"),
    ("POST /api/v1/auth/register", "role doctor"): _account("doctor"),
    ("POST /api/v1/auth/register", "role staff"): _account("staff"),
    ("POST /api/v1/auth/register", "role admin"): _account("admin"),
    ("POST /api/v1/auth/login", ""): lambda cast: {"email": cast.patient.email, "password": PASSWORD},
    ("POST /api/v1/auth/refresh", "the patient's token"): lambda cast: {"refresh_token": cast.ids["refresh_token"]},
    ("POST /api/v1/auth/logout", "the patient's token"): lambda cast: {"refresh_token": cast.ids["refresh_token"]},
    ("POST /api/v1/auth/reauthenticate", "one's password"): lambda _: {"password": PASSWORD},
    ("POST /api/v1/auth/password/change", "one's password"): lambda _: {
        "current_password": PASSWORD,
        "new_password": NEW_PASSWORD,
    },
    ("POST /api/v1/auth/password/forgot", "the patient's address"): lambda cast: {"email": cast.patient.email},
    ("POST /api/v1/auth/password/reset", "the link of a mail"): lambda cast: {
        "token": cast.ids["password_reset"],
        "new_password": NEW_PASSWORD,
    },
    ("POST /api/v1/auth/email/verify", "the link of a mail"): lambda cast: {"token": cast.ids["email_verification"]},
    ("POST /api/v1/auth/login/mfa", "a code"): lambda cast: {
        "mfa_token": cast.ids["staged"].mfa_token,
        "code": cast.ids["staged"].code(),
    },
    ("POST /api/v1/auth/login/mfa", "a passkey"): lambda cast: {
        "mfa_token": cast.ids["staged"].mfa_token,
        "passkey": cast.ids["staged"].used(),
    },
    ("POST /api/v1/auth/login/passkey", ""): lambda cast: {"credential": cast.ids["staged"].used()},
    ("POST /api/v1/auth/mfa/totp/confirm", "the app's code"): lambda cast: {"code": cast.ids["staged"].code()},
    ("POST /api/v1/auth/passkeys", "for the patient's options"): lambda cast: {
        "name": "My phone",
        "credential": cast.ids["staged"].made(),
    },
    ("POST /api/v1/patients", "a name"): lambda _: {"name": "Grace Okafor", "mobile_no": "+1 555 0100"},
    ("POST /api/v1/patients", "no name: one's own"): lambda _: {"blood_group": "O+"},
    ("POST /api/v1/patients/search", ""): lambda _: {"query": "Person"},
    ("PUT /api/v1/patients/{patient_id}", "contact"): lambda _: {"emergency_contact": "Sister, +1 555 0100"},
    ("PUT /api/v1/patients/{patient_id}", "allergies"): lambda _: {"allergies": "Penicillin"},
    ("PUT /api/v1/patients/{patient_id}", "blood group"): lambda _: {"blood_group": "AB-"},
    ("PUT /api/v1/patients/{patient_id}", "is_active"): lambda _: {"is_active": False},
    ("POST /api/v1/patients/{patient_id}/emergency-access", ""): lambda _: {"reason": "Unconscious, allergies?"},
    ("POST /api/v1/patients/{patient_id}/erase", ""): lambda _: {"reason": "File 2026/17"},
    ("POST /api/v1/doctors", ""): _doctor,
    ("PUT /api/v1/doctors/{doctor_id}", ""): lambda _: {"experience_years": 7},
    ("POST /api/v1/clinics", ""): lambda _: {"name": "City Health Center"},
    ("PUT /api/v1/clinics/{clinic_id}", ""): lambda _: {"city": "Boston"},
    ("POST /api/v1/clinics/{clinic_id}/staff", ""): lambda cast: {"user_id": cast.new_staff.user_id},
    ("POST /api/v1/slots", "one slot"): _slot,
    ("POST /api/v1/slots", "a list"): lambda cast: [_slot(cast), _slot(cast)],
    ("POST /api/v1/appointments/book", ""): lambda cast: booking(cast.patient, cast.doctor, cast.free_slot),
    ("POST /api/v1/appointments/{appointment_id}/cancel", ""): lambda _: {"cancelled_reason": "Unable to attend"},
    ("PUT /api/v1/appointments/{appointment_id}", "notes"): lambda _: {"notes": "Blood pressure 120/80."},
    ("PUT /api/v1/appointments/{appointment_id}", "is_active: in error"): lambda _: {"is_active": False},
    ("PUT /api/v1/users/me/preferences", ""): lambda _: {"locale": "de"},
    ("POST /api/v1/users/me/push-subscriptions", ""): lambda _: browser(host="8.8.8.8"),
    ("POST /api/v1/auth/invitation/accept", "the token of a mail"): lambda cast: {
        "token": cast.ids["token"],
        "password": PASSWORD,
    },
    ("PUT /api/v1/users/me", "name"): lambda _: {"name": "Grace Okafor"},
    ("PUT /api/v1/users/me", "e-mail"): lambda _: {"email": f"new{next(_numbers)}@example.org"},
    ("PUT /api/v1/users/{user_id}", "role"): lambda _: {"role": "admin"},
    ("PUT /api/v1/users/{user_id}", "is_active"): lambda _: {"is_active": False},
    ("POST /api/v1/users/invitations", "role doctor"): _invitation("doctor"),
    ("POST /api/v1/users/invitations", "role admin"): _invitation("admin"),
    ("POST /api/v1/api-keys", ""): lambda _: {"name": "Kiosk", "scopes": ["slots:*"]},
    ("POST /api/v1/webhooks", ""): _webhook,
    ("PUT /api/v1/webhooks/{webhook_id}", ""): lambda _: {"is_active": False},
}

ROWS = read_table(DOCUMENT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
async def password_hash(app: FastAPI) -> str:
    hashed: str = await app.state.gate.passwords.hash(PASSWORD)
    return hashed


async def _open_feeds(world: World, cast: Cast) -> str:
    """Give everybody a calendar feed; the token of the patient's."""
    people = [person for column in CALLERS if (person := cast.caller(column))]
    for person in people:
        token_hash = hashlib.sha256(f"feed of {person.user_id}".encode()).digest()
        await world.owner.execute("INSERT INTO calendar_feeds VALUES ($1, $2)", person.user_id, token_hash)
    return f"feed of {cast.patient.user_id}"


async def _stage(world: World, app: FastAPI, row: Row, password_hash: str) -> Cast:
    """What the row's request is about, as nobody has touched it yet."""
    is_over = row.variant == "is_active: in error"
    cast = await make_cast(world, **({"status": "completed"} if is_over else {}))
    await set_password(world, cast.patient, password_hash)
    if row.request == "DELETE /api/v1/slots/{slot_id}":
        cast.ids["slot_id"] = cast.free_slot
    if "calendar" in row.path:
        cast.ids["token"] = await _open_feeds(world, cast)
    if "invit" in row.path:
        cast.ids.update(await make_invited(world, cast))
    if row.path.startswith(SIGNING_IN):
        people = [person for column in CALLERS if (person := cast.caller(column))]
        cast.ids.update(await make_sign_ins(world, cast, people, password_hash))
    if "mfa" in row.path or "passkey" in row.path:
        cast.ids.update(await make_factors(world, app, cast))
    if "unsubscribe" in row.path:
        url = app.state.links.url(cast.patient.user_id, Kind.APPOINTMENT_REMINDER)
        cast.ids["token"] = url.rpartition("/")[2]
    return cast


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_everybody_gets_what_the_table_says(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, password_hash: str, row: Row
):
    found: dict[str, int] = {}
    make_body = BODIES.get((row.request, row.variant), lambda _: None)
    may_change = row.method != "GET" and row.request not in READS_BY_POST
    cast, before = await _stage(world, app, row, password_hash), await fingerprint(owner)
    for column in CALLERS:
        person = cast.caller(column)
        path = f"http://test{row.path.format(**cast.ids)}"
        headers = person.headers if person else {}
        answer = await api.request(row.method, path, json=make_body(cast), headers=headers)
        found[column] = answer.status_code
        after = await fingerprint(owner)
        changed = {table for table in after if after[table] != before[table]}
        assert bool(changed) == (answer.is_success and may_change), f"{column}: {answer.status_code}, {changed}"
        if changed:
            cast, before = await _stage(world, app, row, password_hash), await fingerprint(owner)
    assert found == row.statuses


def operations(app: FastAPI) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}


def test_every_endpoint_has_a_row_and_every_row_an_endpoint(app: FastAPI):
    assert {row.request for row in ROWS} == operations(app)


def test_every_row_is_there_once_and_every_request_is_made(app: FastAPI):
    keys = [(row.request, row.variant) for row in ROWS]
    assert len(keys) == len(set(keys))
    takes_body = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert {key for key in keys if key[0] in takes_body} == set(BODIES)


def test_an_endpoint_outside_the_document_is_no_secret_door(app: FastAPI):
    """What the OpenAPI document leaves out serves documentation only."""
    hidden = {getattr(route, "path", "") for route in app.routes} - set(app.openapi()["paths"])
    assert {path for path in hidden if not path.startswith("/docs")} <= {"/openapi.json", ""}
