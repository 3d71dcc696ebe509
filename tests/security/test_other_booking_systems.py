"""Holes of Hi.Events, Wappointment, LatePoint and LibreBooking, tried here."""

import asyncio
import base64
import hashlib
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from health_services.notifications.models import Kind
from tests.access.cast import fingerprint, make_cast
from tests.accounts.ledger import last_token
from tests.api.answers import refusal
from tests.calendars.conftest import subscribe
from tests.factories import World, booking
from tests.security.probing import assert_tells_nothing, operations
from tests.sessions.visitors import PASSWORD, Visitor

__all__ = ["subscribe"]

SMALLEST_SECRET_BYTES = 16


async def test_hievents_1224_an_address_that_is_a_right_shows_nobody_and_writes_nothing(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, subscribe: Any
):
    """Hi.Events #1224: a check-in link listed the attendees to whoever had it, and let him check them in."""
    cast = await make_cast(world, reason_for_visit="a cough")
    feed = await subscribe(cast.doctor)
    link = app.state.links.url(cast.patient.user_id, Kind.APPOINTMENT_REMINDER).partition("/api/v1")[2]
    before = await fingerprint(owner)
    for path in (feed, link):
        shown = await api.get(path)
        assert shown.status_code == 200
        for secret in ("Person", cast.patient.email, "cough", "password"):
            assert secret not in shown.text
        for method in ("PUT", "PATCH", "DELETE", *(["POST"] if path == feed else [])):
            refusal(await api.request(method, path), "METHOD_NOT_ALLOWED")
    assert await fingerprint(owner) == before
    token = feed.removeprefix("/calendar/").removesuffix(".ics")
    for header in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
        assert_tells_nothing(await api.get("/appointments", headers=header), cast)


async def _tokens(api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection) -> dict[str, str]:
    """One of each kind of token of the same new person."""
    ada = await Visitor(api, "ada@example.org").register()
    user_id, made = ada.user["id"], {"refresh": ada.refresh}
    made["verification"] = await last_token(owner, app, user_id)
    await api.post("/auth/password/forgot", json={"email": ada.email})
    made["reset"] = await last_token(owner, app, user_id)
    feed = await api.post("/users/me/calendar-feed", headers=ada.headers)
    made["feed"] = feed.json()["token"]
    key = await api.post("/api-keys", json={"name": "x", "scopes": ["slots:*"]}, headers=ada.headers)
    made["key"] = key.json()["key"].split("_", 2)[2]
    made["unsubscribe"] = app.state.links.url(user_id, Kind.APPOINTMENT_BOOKED).rpartition("/")[2]
    other = {"email": "bob@example.org", "name": "Bob", "role": "patient"}
    invited = await api.post("/users/invitations", json=other, headers=(await world.admin()).headers)
    made["invitation"] = await last_token(owner, app, invited.json()["id"])
    return made


async def test_wappointment_cve_2026_9188_no_token_is_made_of_what_others_know(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2026-9188: the token to cancel was md5(client, start, staff). Ours have 128 bits or more."""
    tokens = await _tokens(api, app, world, owner)
    assert len(set(tokens.values())) == len(tokens) == 7
    for kind, token in tokens.items():
        raw = base64.urlsafe_b64decode(token.removeprefix("hsr_") + "==")
        assert len(raw) >= SMALLEST_SECRET_BYTES, kind
        for digest in (hashlib.md5, hashlib.sha1, hashlib.sha256):
            for known in ("1", "ada@example.org", "1.appointment_booked", "1|1|1"):
                assert digest(known.encode()).digest()[:SMALLEST_SECRET_BYTES] not in raw, kind
        doors = {
            "refresh": ("/auth/refresh", {"refresh_token": token}, 401),
            "verification": ("/auth/email/verify", {"token": token}, 400),
            "reset": ("/auth/password/reset", {"token": token, "new_password": PASSWORD}, 400),
            "invitation": ("/auth/invitation/accept", {"token": token, "password": PASSWORD}, 400),
            "unsubscribe": (f"/unsubscribe/{token}", None, 404),
        }
        for door, (path, body, status) in doors.items():
            if door != kind:
                assert (await api.post(path, json=body)).status_code == status, f"{kind} at {door}"
        if kind != "feed":
            assert (await api.get(f"/calendar/{token}.ics")).status_code == 404, kind


async def test_latepoint_before_5_2_8_no_record_is_tied_to_another_account(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """LatePoint before 5.2.8: staff tied a new customer to an administrator's account and then reset its password."""
    cast = await make_cast(world)
    before = await fingerprint(owner)
    for person in (cast.staff, cast.admin):
        named = {"name": "Eve", "email": cast.other_doctor.email}
        refusal(await api.post("/patients", json=named, headers=person.headers), "EMAIL_ALREADY_REGISTERED")
        for field in ("user_id", "id", "wordpress_user_id", "password"):
            body = {"name": "Eve", field: cast.admin.user_id}
            refusal(await api.post("/patients", json=body, headers=person.headers), "VALIDATION_ERROR", field)
            path = f"/patients/{cast.patient.patient_id}"
            answer = await api.put(path, json={field: cast.admin.user_id}, headers=person.headers)
            refusal(answer, "VALIDATION_ERROR", field)
        answer = await api.post(f"/patients/{cast.patient.patient_id}/invite", headers=person.headers)
        assert "has a login already" in refusal(answer, "CONFLICT")["detail"]
    for path in (f"/users/{cast.patient.user_id}", f"/users/{cast.admin.user_id}"):
        refusal(await api.put(path, json={"role": "staff"}, headers=cast.staff.headers), "AUTHORIZATION_ERROR")
    assert await fingerprint(owner) == before


async def test_latepoint_cve_2026_1537_a_strangers_question_about_a_booking_is_401(
    api: httpx.AsyncClient, app: FastAPI, world: World
):
    """CVE-2026-1537: the details of a booking were shown to whoever asked. Here he does not learn whether it exists."""
    cast = await make_cast(world)
    asked = [operation for operation in operations(app) if "/appointments" in operation.path]
    for operation in asked:
        told = set()
        for number in (1, cast.ids["appointment_id"], 987_654_321):
            url = operation.url({"appointment_id": number, "patient_id": number, "doctor_id": number})
            answer = await api.request(operation.method, url)
            told.add(str(refusal(answer, "AUTHENTICATION_ERROR") | {"timestamp": ""}))
            assert_tells_nothing(answer, cast)
        assert len(told) == 1
    assert len(asked) >= 9


async def test_librebooking_147_who_is_told_that_he_has_the_place_has_it(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """LibreBooking #147: two were told that they had booked, and the last one had. Here answers are true."""
    doctor, patients = await world.doctor(), await world.patients(12)
    slot = await world.slot(doctor, capacity=2)
    answers = await asyncio.gather(
        *(
            api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
            for patient in patients
        )
    )
    told = {
        answer.json()["id"]: patient.patient_id
        for patient, answer in zip(patients, answers, strict=True)
        if answer.status_code == 201
    }
    assert len(told) == 2
    for answer in answers:
        if answer.status_code != 201:
            refusal(answer, "SLOT_UNAVAILABLE")
    rows = await owner.fetch("SELECT id, patient_id, status::text FROM appointments")
    assert {row["id"]: row["patient_id"] for row in rows} == told
    assert {row["status"] for row in rows} == {"pending"}
    for patient in patients:
        found = await api.get(f"/patients/{patient.patient_id}/appointments", headers=patient.headers)
        assert [row["id"] for row in found.json()] == [key for key, held in told.items() if held == patient.patient_id]
