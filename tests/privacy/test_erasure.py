"""Whoever is erased is forgotten: everywhere, at once, for good, and without breaking anything of anybody else's."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.privacy.holding import Kept, Removed
from health_services.privacy.inventory import HOLDINGS
from tests.api.answers import digest, refusal
from tests.factories import Person, World, booking, soon
from tests.privacy.seeding import BORN, insert, seed, traces, vault_of
from tests.privacy.test_export import counted
from tests.webhooks.hooks import Hooks

REASON = {"reason": "File 2026/17"}
LATER = soon() + timedelta(days=3)


async def erase(api: httpx.AsyncClient, caller: Person, patient: Person, **headers: str) -> httpx.Response:
    path = f"/patients/{patient.patient_id}/erase"
    return await api.post(path, json=REASON, headers=caller.headers | headers)


async def erased(api: httpx.AsyncClient, caller: Person, patient: Person) -> dict[str, Any]:
    """The confirmation of an erasure that succeeded."""
    answer = await erase(api, caller, patient)
    assert answer.status_code == 200, answer.text
    confirmation: dict[str, Any] = answer.json()
    return confirmation


async def test_nothing_that_was_known_is_found_anywhere(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    zebra = await seed(owner, app, world, "ZEBRA")
    await seed(owner, app, world, "GIRAFFE")
    everywhere = await traces(owner, app, "ZEBRA")
    # desks are numbers only; a former doctor has a test of his own
    with_texts = {h.table for h in HOLDINGS if not isinstance(h.erasure, Kept)} - {"clinic_staff", "doctors"}
    assert everywhere == with_texts
    confirmation = await erased(api, await world.admin(), zebra.person)
    assert await traces(owner, app, "ZEBRA") == set()
    assert await traces(owner, app, "GIRAFFE") == everywhere
    assert confirmation["forgotten"].keys() >= {"account", "patient", "appointments", "sessions", "passkeys"}
    born = "SELECT count(*) FROM patients WHERE date_of_birth = $1 OR blood_group = 'B-' OR sex = 'female'"
    assert await owner.fetchval(born, BORN) == 1
    left = await counted(owner, zebra.person)
    assert not any(left[h.table] for h in HOLDINGS if isinstance(h.erasure, Removed))


async def test_the_visit_stays_without_a_word(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    zebra = await seed(owner, app, world, "ZEBRA")
    before = await owner.fetchrow("SELECT * FROM appointments")
    await erased(api, zebra.person, zebra.person)
    after = await owner.fetchrow("SELECT * FROM appointments")
    changed = {name for name, value in dict(before).items() if value != after[name]}
    assert changed == {"reason_for_visit", "notes", "cancelled_reason"}


async def test_visits_ahead_are_cancelled_and_their_places_free(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    hook = await Hooks(owner, app).webhook("https://hooks.example", events=["appointment.cancelled"])
    patient, doctor, other = await world.patient(), await world.doctor(), await world.patient()
    ahead, over = await world.slot(doctor, LATER), await world.slot(doctor, soon() - timedelta(days=9))
    booked = await api.post("/appointments/book", json=booking(patient, doctor, ahead), headers=patient.headers)
    past = await world.appointment(patient, doctor, over)
    confirmation = await erased(api, patient, patient)

    assert confirmation["cancelled"] == [booked.json()["id"]]
    states = dict(await owner.fetch("SELECT id, status::text FROM appointments"))
    assert states == {booked.json()["id"]: "cancelled", past: "pending"}
    again = await api.post("/appointments/book", json=booking(other, doctor, ahead), headers=other.headers)
    assert again.status_code == 201
    told = await owner.fetch("SELECT webhook_id, event, state FROM webhook_deliveries")
    assert [tuple(row) for row in told] == [(hook, "appointment.cancelled", "queued")]
    waiting = "SELECT count(*) FROM notifications WHERE user_id = $1 AND (state = 'queued' OR is_unreachable)"
    assert await owner.fetchval(waiting, patient.user_id) == 0


async def test_every_way_in_is_closed(api: httpx.AsyncClient, owner: asyncpg.Connection, world: World):
    account = {"name": "Zoe Zebra", "email": "zoe@example.org", "password": "three blue teapots"}
    session = (await api.post("/auth/register", json=account)).json()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    person = Person(session["user"]["id"], "zoe@example.org", headers, patient_id=session["user"]["patient_id"])
    feed = (await api.post("/users/me/calendar-feed", headers=headers)).json()["token"]
    key = await api.post("/api-keys", json={"name": "mine", "scopes": ["patients:read"]}, headers=headers)
    assert key.status_code == 201, key.text
    record = f"/patients/{person.patient_id}"
    assert (await api.get(record, headers={"X-API-Key": key.json()["key"]})).status_code == 200
    assert (await api.post("/auth/password/forgot", json={"email": "zoe@example.org"})).status_code == 202
    assert await owner.fetchval("SELECT count(*) FROM one_time_tokens") > 0
    await erased(api, person, person)

    assert (await api.get("/auth/profile", headers=headers)).status_code == 401
    assert (await api.post("/auth/login", json={k: account[k] for k in ("email", "password")})).status_code == 401
    refresh = await api.post("/auth/refresh", json={"refresh_token": session["refresh_token"]})
    assert refresh.status_code == 401
    assert (await api.get(f"/calendar/{feed}.ics")).status_code == 404
    assert (await api.get(record, headers={"X-API-Key": key.json()["key"]})).status_code == 401
    assert await owner.fetchval("SELECT count(*) FROM one_time_tokens") == 0
    assert (await api.post("/auth/register", json=account)).status_code == 200, "the address is free"


async def test_an_administrator_sees_the_pseudonym_and_the_reason(api: httpx.AsyncClient, world: World):
    patient, admin = await world.patient(), await world.admin()
    await erased(api, patient, patient)
    exported = (await api.get(f"/patients/{patient.patient_id}/export", headers=admin.headers)).json()
    assert (exported["account"]["name"], exported["account"]["email"]) == ("Erased person", None)
    assert exported["patient"]["erased_reason"] == REASON["reason"]
    shown = await api.get(f"/patients/{patient.patient_id}", headers=admin.headers)
    assert shown.json()["name"] == "Erased person"


async def test_once_is_enough(api: httpx.AsyncClient, owner: asyncpg.Connection, world: World):
    patient, admin = await world.patient(), await world.admin()
    await erased(api, admin, patient)
    before = await digest(owner)
    refusal(await erase(api, admin, patient), "CONFLICT")
    assert await digest(owner) == before


@pytest.mark.parametrize("role", ["doctor", "staff", "admin"])
async def test_who_works_here_is_told_what_to_do_first(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World, role: str
):
    patient, admin = await world.patient(), await world.admin()
    await owner.execute("UPDATE users SET role = $2::text::user_role WHERE id = $1", patient.user_id, role)
    refused = await erase(api, admin, patient)
    refusal(refused, "CONFLICT")
    assert "PUT /users/{id}" in refused.json()["detail"]
    made = await api.put(f"/users/{patient.user_id}", json={"role": "patient"}, headers=admin.headers)
    assert made.status_code == 200, made.text
    await erased(api, admin, patient)


async def test_a_former_doctor_stays_named_where_others_were_treated(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    zebra = await seed(owner, app, world, "ZEBRA")
    clinic = await world.clinic()
    former = {"user_id": zebra.person.user_id, "clinic_id": clinic, "specialty": "x", "license_number": "L1"}
    await insert(owner, app, "ZEBRA", "doctors", **former, is_active=False)
    await erased(api, zebra.person, zebra.person)
    row = await owner.fetchrow(
        "SELECT name, qualifications, license_number FROM doctors WHERE user_id = $1", zebra.person.user_id
    )
    assert tuple(row) == ("ZEBRA users", None, "L1")
    assert await traces(owner, app, "ZEBRA") == {"doctors"}


async def test_it_needs_a_fresh_proof_of_who_asks(api: httpx.AsyncClient, world: World):
    patient = await world.patient()
    stale = await world.sign_in(patient.user_id, authenticated_at=soon() - timedelta(days=2))
    refusal(await erase(api, replace(patient, headers=stale), patient), "REAUTHENTICATION_REQUIRED")


async def test_an_answer_kept_for_somebody_else_shows_nothing(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World
):
    """Staff who entered the person cannot ask for the answer again, nor enter him twice."""
    staff, admin = await world.staff(), await world.admin()
    headers = staff.headers | {"Idempotency-Key": "once"}
    body = {"name": "Zoe Zebra", "mobile_no": "555"}
    made = await api.post("/patients", json=body, headers=headers)
    assert (await api.post("/patients", json=body, headers=headers)).json() == made.json()
    person = Person(made.json()["user_id"], "", {}, patient_id=made.json()["id"])
    await erased(api, admin, person)
    refused = await api.post("/patients", json=body, headers=headers)
    refusal(refused, "CONFLICT")
    assert "Zebra" not in refused.text
    assert await owner.fetchval("SELECT count(*) FROM patients") == 1


async def test_what_is_erased_cannot_be_filled_in_again(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World
):
    patient, doctor, admin = await world.patient(), await world.doctor(), await world.admin()
    visit, slot = await world.appointment(patient, doctor, status="completed"), await world.slot(doctor)
    await erased(api, admin, patient)
    before = await digest(owner)
    for method, path, caller, body in (
        ("PUT", f"/patients/{patient.patient_id}", admin, {"allergies": "Penicillin"}),
        ("PUT", f"/patients/{patient.patient_id}", admin, {"is_active": True}),
        ("PUT", f"/users/{patient.user_id}", admin, {"is_active": True}),
        ("PUT", f"/appointments/{visit}", doctor, {"notes": "He coughed."}),
        ("POST", "/appointments/book", admin, booking(patient, doctor, slot)),
    ):
        answer = await api.request(method, path, json=body, headers=caller.headers)
        refusal(answer, "CONFLICT")
    assert await digest(owner) == before


async def test_the_confirmation_and_the_audit_name_nobody(
    api: httpx.AsyncClient, owner: asyncpg.Connection, app: FastAPI, world: World
):
    zebra = await seed(owner, app, world, "ZEBRA")
    confirmation = await erased(api, zebra.person, zebra.person)
    assert "zebra" not in json.dumps(confirmation).lower()
    entry = await owner.fetchrow("SELECT * FROM audit_log ORDER BY id DESC LIMIT 1")
    assert (entry["action"], entry["outcome"]) == ("erase_patient", "success")
    assert (entry["patient_ids"], entry["user_ids"]) == ([zebra.person.patient_id], [zebra.person.user_id])
    stored = await owner.fetchval("SELECT erased_reason FROM patients WHERE id = $1", zebra.person.patient_id)
    assert REASON["reason"] not in stored
    opened = vault_of(app).open("patients", "erased_reason", zebra.person.patient_id, stored)
    assert opened == REASON["reason"]
