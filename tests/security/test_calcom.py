"""Holes of Cal.com and cal.diy, tried here."""

import secrets
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.access.cast import fingerprint, make_cast, make_invited
from tests.accounts.ledger import last_token
from tests.api.answers import refusal
from tests.api_keys.keys import make_key
from tests.calendars.conftest import subscribe
from tests.factories import World, booking
from tests.notifications.ledger import Ledger
from tests.security.probing import assert_tells_nothing, mails, operations
from tests.sessions.visitors import PASSWORD, Visitor

__all__ = ["subscribe"]

INTERNAL = (
    "/_get", "/_post", "/appointments/_get", "/appointments/_post", "/users/_get", "/internal/users", "/admin/users",
    "/api/v1/users", "/v0/users", "/../v2/users", "/users/_search", "/debug", "/trpc/users.list", "/auth/_refresh",
)  # fmt: skip


async def test_calcom_cve_2026_23478_a_refresh_changes_nobodys_identity(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2026-23478 (CVSS 10): the update of a session took the e-mail address of whoever one wanted to be."""
    admin, eve = await world.admin(), await Visitor(api, "eve@example.org").register()
    before = await fingerprint(owner)
    for field, value in {
        "email": admin.email, "sub": str(admin.user_id), "user_id": admin.user_id, "role": "admin",
        "user": {"email": admin.email},
    }.items():  # fmt: skip
        answer = await api.post("/auth/refresh", json={"refresh_token": eve.refresh, field: value})
        refusal(answer, "VALIDATION_ERROR", field)
    assert await fingerprint(owner) == before
    renewed = (await eve.renew()).json()
    assert (renewed["user"]["email"], renewed["user"]["role"]) == ("eve@example.org", "patient")


async def test_calcom_gecko_2026_an_invitation_takes_over_no_account(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """Gecko, January 2026: signing up with an invitation and somebody else's address overwrote his account."""
    cast = await make_cast(world)
    invited = await make_invited(world, cast)
    before = await fingerprint(owner)
    victim = {"email": cast.doctor.email, "name": "Eve"}
    answers = [
        await api.post("/users/invitations", json=victim | {"role": "doctor"}, headers=cast.admin.headers),
        await api.post("/auth/register", json=victim | {"password": PASSWORD}),
        await api.post("/auth/register", json=victim | {"password": PASSWORD, "email": cast.doctor.email.upper()}),
    ]
    for answer in answers:
        refusal(answer, "EMAIL_ALREADY_REGISTERED")
    for field in ("email", "user_id", "role", "name"):
        body = {"token": invited["token"], "password": PASSWORD, field: victim.get(field, 1)}
        refusal(await api.post("/auth/invitation/accept", json=body), "VALIDATION_ERROR", field)
    body = victim | {"password": PASSWORD, "token": invited["token"]}
    refusal(await api.post("/auth/register", json=body), "VALIDATION_ERROR", "token")
    assert await fingerprint(owner) == before


async def test_calcom_gecko_2026_no_unlisted_route_and_no_key_is_a_master_key(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """Gecko, January 2026: handlers behind names with an underscore asked nobody, and any valid key opened them."""
    cast = await make_cast(world)
    scopes = ["users:*", "audit:*", "patients:*", "appointments:*", "webhooks:*", "clinics:*", "doctors:*"]
    key = await make_key(world, cast.other_patient.user_id, *scopes)
    before = await fingerprint(owner)
    for path, method, headers in product(INTERNAL, ("GET", "POST", "DELETE"), ({}, key, cast.admin.headers)):
        answer = await api.request(method, f"http://test/api/v1{path}", headers=headers)
        assert answer.status_code in {400, 401, 403, 404, 405}, f"{method} {path}: {answer.status_code}"
        if not headers:
            assert_tells_nothing(answer, cast)
    for operation in operations(app):
        if operation.rule is not None and operation.rule.token.value == "required" and "me" not in operation.path:
            answer = await api.request(operation.method, operation.url(cast.ids), headers=key)
            is_own = operation.path == "/api/v1/push/key"
            assert is_own or answer.status_code in {400, 403, 404}, f"{operation}: {answer.status_code}"
    assert {table for table, seen in (await fingerprint(owner)).items() if seen != before[table]} <= {"api_keys"}


async def test_caldiy_10789_two_never_wait_for_one_place(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """cal.diy #10789 and #29958: two pending bookings of one slot were both confirmed. Nobody confirms here yet.

    A pending booking holds its place already, so that there is no second one, by psql neither.
    """
    cast = await make_cast(world)
    before, slot = await fingerprint(owner), cast.ids["slot_id"]
    body = booking(cast.other_patient, cast.doctor, slot)
    refusal(await api.post("/appointments/book", json=body, headers=cast.other_patient.headers), "SLOT_UNAVAILABLE")
    with pytest.raises(asyncpg.CheckViolationError):
        await world.appointment(cast.other_patient, cast.doctor, slot, status="confirmed")
    path = f"/appointments/{cast.ids['appointment_id']}/confirm"
    refusal(await api.post(path, headers=cast.admin.headers), "RESOURCE_NOT_FOUND")
    assert await fingerprint(owner) == before


async def test_caldiy_29603_no_series_goes_around_the_limits(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """cal.diy PR #29603: concurrent series of bookings exceeded the cap of a period. There are no series here yet."""
    cast = await make_cast(world)
    before = await fingerprint(owner)
    one = booking(cast.patient, cast.doctor, cast.free_slot)
    for field, value in {"recurrence": "weekly", "rrule": "FREQ=DAILY", "count": 9, "slot_ids": [1, 2]}.items():
        answer = await api.post("/appointments/book", json=one | {field: value}, headers=cast.patient.headers)
        refusal(answer, "VALIDATION_ERROR", field)
    refusal(
        await api.post("/appointments/book", json=[one, one], headers=cast.patient.headers), "VALIDATION_ERROR", "body"
    )
    assert await fingerprint(owner) == before


async def test_caldiy_22542_no_door_tells_a_stranger_whose_address_is_known(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """cal.diy PR #22542: a booking's id and an address told anonymously whether they belong together."""
    ada, cast = await Visitor(api, "ada@example.org").register(), await make_cast(world)
    token = await last_token(owner, app, ada.user["id"])
    assert (await api.post("/auth/email/verify", json={"token": token})).status_code == 204
    invited = await make_invited(world, cast)
    expired = await last_token(owner, app, (await Visitor(api, "eve@example.org").register()).user["id"])
    await owner.execute(
        "UPDATE one_time_tokens SET expires_at = now() - interval '1 second' WHERE purpose <> 'invitation'"
    )
    answers = set()
    for wrong in (token, expired, invited["token"], secrets.token_urlsafe(32), "x"):
        answer = await api.post("/auth/email/verify", json={"token": wrong})
        answers.add(str(refusal(answer, "VALIDATION_ERROR", "token") | {"timestamp": ""}))
    assert len(answers) == 1
    for known in (ada.email, "nobody@example.org"):
        refusal(await api.post("/auth/email/verify", json={"token": "x", "email": known}), "VALIDATION_ERROR", "email")
        forgotten = await api.post("/auth/password/forgot", json={"email": known})
        assert (forgotten.status_code, forgotten.content) == (202, b"")


async def test_calcom_11660_cancelling_without_saying_who_cancels_nobody_else(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """Cal.com #11660: a cancel link from which the seat was left out cancelled everybody's booking."""
    doctor, (ada, bob) = await world.doctor(), await world.patients(2)
    slot = await world.slot(doctor, capacity=2)
    his, hers = await world.appointment(bob, doctor, slot), await world.appointment(ada, doctor, slot)
    path = f"/appointments/{hers}/cancel"
    before = await fingerprint(owner)
    for name in ("seatReferenceUid", "patient_id", "slot_id", "allRemainingBookings"):
        refusal(await api.post(path, params={name: "1"}, headers=ada.headers), "VALIDATION_ERROR", name)
        refusal(await api.post(path, json={name: 1}, headers=ada.headers), "VALIDATION_ERROR", name)
    refusal(await api.post(f"/appointments/{his}/cancel", headers=ada.headers), "AUTHORIZATION_ERROR")
    refusal(await api.post("/appointments/cancel", headers=ada.headers), "METHOD_NOT_ALLOWED")
    assert await fingerprint(owner) == before
    assert (await api.post(path, headers=ada.headers)).status_code == 200
    assert await owner.fetchval("SELECT status::text FROM appointments WHERE id = $1", his) == "pending"


async def test_calcom_17246_nobody_in_a_group_sees_the_others(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection, subscribe: Any
):
    """Cal.com #17246: whoever booked a seat of a group saw who else had, by the API and by mail."""
    doctor = await world.doctor()
    ada, bob = [await world.patient(user={"name": name}) for name in ("Ada Wong", "Bob Zebra")]
    slot = await world.slot(doctor, datetime.now(UTC) + timedelta(days=3), capacity=2)
    booked = []
    for person in (bob, ada):
        body = booking(person, doctor, slot, reason_for_visit=f"Zebra's {person.patient_id}")
        answer = await api.post("/appointments/book", json=body, headers=person.headers)
        booked.append(answer.json()["id"])
    seen = [answer.text]
    for path in (
        f"/appointments/{booked[1]}", f"/appointments/{booked[1]}/notifications",
        f"/appointments/{booked[1]}/calendar.ics", f"/patients/{ada.patient_id}/appointments", f"/slots/{slot}",
        await subscribe(ada), f"/patients/{ada.patient_id}/export",
    ):  # fmt: skip
        found = await api.get(path, headers=ada.headers)
        assert found.status_code == 200, path
        seen.append(found.text.replace("\r\n ", ""))
    seen += [mail for mail in await mails(app, Ledger(owner, app)) if "Ada" in mail]
    assert len(seen) == 9
    for text in seen:
        assert not [secret for secret in ("Zebra'" + f"s {bob.patient_id}", "Bob", bob.email) if secret in text]
    refusal(await api.get(f"/appointments/{booked[0]}", headers=ada.headers), "AUTHORIZATION_ERROR")


async def test_calcom_7280_what_is_hidden_is_not_booked_by_its_number(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """Cal.com #7280: a removed or hidden service could be booked by writing its number into the address."""
    doctor, patient = await world.doctor(), await world.patient()
    shown, removed = await world.slot(doctor), await world.slot(doctor, is_active=False)
    past = await world.slot(doctor, datetime.now(UTC) - timedelta(hours=2))
    before = await fingerprint(owner)
    for slot in (removed, past):
        answer = await api.post("/appointments/book", json=booking(patient, doctor, slot), headers=patient.headers)
        refusal(answer, "SLOT_UNAVAILABLE")
    listed = (await api.get("/slots", params={"doctor_id": doctor.doctor_id})).json()
    assert [slot["id"] for slot in listed] == [shown]
    assert await fingerprint(owner) == before
