"""Holes of Easy!Appointments, tried here."""

from itertools import product

import asyncpg
import httpx
from fastapi import FastAPI

from tests.access.cast import fingerprint, make_cast
from tests.api.answers import refusal
from tests.factories import World, booking, soon
from tests.notifications.ledger import Ledger
from tests.security.probing import assert_tells_nothing, mails, operations

TEMPLATES = "{{7*191}} ${7*191} #{7*191} <%= 7*191 %> {% print(7*191) %} <?php echo 7*191; ?>"


async def test_easyappointments_cve_2023_3285_nobody_books_in_anothers_name(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2023-3285: whoever was signed in at all could POST appointments with another's patient and doctor."""
    cast = await make_cast(world)
    before = await fingerprint(owner)
    for attacker, patient, doctor, status in (
        (cast.other_patient, cast.patient, cast.doctor, 403),
        (cast.other_patient, cast.other_patient, cast.other_doctor, 400),
        (cast.other_doctor, cast.patient, cast.doctor, 403),
        (cast.other_staff, cast.patient, cast.doctor, 403),
    ):
        body = booking(patient, doctor, cast.free_slot)
        answer = await api.post("/appointments/book", json=body, headers=attacker.headers)
        assert answer.status_code == status, answer.text
    assert await fingerprint(owner) == before


async def test_easyappointments_cve_2023_3286_to_3290_nobody_low_makes_accounts_or_places(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2023-3286 to 3290: customers and providers could POST admins, secretaries, providers and services."""
    cast = await make_cast(world)
    before = await fingerprint(owner)
    person = {"name": "Eve", "email": "eve@example.org"}
    bodies = [
        *(("/users/invitations", person | {"role": role}) for role in ("admin", "staff", "doctor", "patient")),
        *(("/auth/register", person | {"password": "three blue teapots", "role": role}) for role in ("admin", "staff")),
        ("/doctors", {"user_id": 1, "clinic_id": 1, "specialty": "x", "license_number": "x"}),
        ("/clinics", {"name": "Mine"}),
        (f"/clinics/{cast.doctor.clinic_id}/staff", {"user_id": cast.other_patient.user_id}),
        ("/webhooks", {"url": "https://8.8.8.8/", "events": ["slot.created"]}),
    ]
    attackers = (cast.patient, cast.doctor, cast.staff)
    for (path, body), attacker in product(bodies, attackers):
        assert_tells_nothing(await api.post(path, json=body, headers=attacker.headers), cast)
    slot = {"doctor_id": 1, "clinic_id": 1, "slot_datetime": soon().isoformat()}
    for path, body in (("/slots", slot), ("/patients", {"name": "Eve"})):
        refusal(await api.post(path, json=body, headers=cast.patient.headers), "AUTHORIZATION_ERROR")
    assert await fingerprint(owner) == before


async def test_easyappointments_cve_2023_38047_to_38055_no_object_of_others_by_its_number(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2023-38047 to 38055: GET, PUT and DELETE by id on nine kinds of objects asked nobody whose they are."""
    cast = await make_cast(world)
    before, tried = await fingerprint(owner), 0
    paths = {operation.path: operation for operation in operations(app) if operation.parameters("path")}
    public = {("GET", operation.path) for operation in operations(app) if operation.rule and operation.rule.cache}
    for (path, operation), method in product(paths.items(), ("GET", "PUT", "DELETE")):
        if (method, path) in public or "unsubscribe" in path or operation.rule is None:
            continue
        answer = await api.request(method, operation.url(cast.ids), headers=cast.other_patient.headers)
        if answer.status_code != 400:  # the form of a body is looked at before whose the object is
            assert_tells_nothing(answer, cast)
        tried += 1
    assert tried > 60
    assert await fingerprint(owner) == before


async def test_easyappointments_cve_2023_3700_nobody_swaps_the_provider(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    """CVE-2023-3700: an appointment could be saved with another provider's id in it."""
    cast = await make_cast(world)
    before, path = await fingerprint(owner), f"/appointments/{cast.ids['appointment_id']}"
    swapped = booking(cast.patient, cast.other_doctor, cast.free_slot)
    refusal(
        await api.post("/appointments/book", json=swapped, headers=cast.patient.headers),
        "VALIDATION_ERROR",
        "doctor_id",
    )
    for field in ("doctor_id", "provider_id", "id_users_provider"):
        body = {"notes": "Mine now.", field: cast.other_doctor.doctor_id}
        refusal(await api.put(path, json=body, headers=cast.doctor.headers), "VALIDATION_ERROR", field)
    answer = await api.put(path, json={"notes": "Mine now."}, headers=cast.other_doctor.headers)
    refusal(answer, "AUTHORIZATION_ERROR")
    assert await fingerprint(owner) == before


async def test_easyappointments_cve_2022_0482_a_public_token_signs_nobody_in(api: httpx.AsyncClient, world: World):
    """CVE-2022-0482: the calendar's events were given to whoever sent the CSRF token of the public page."""
    cast = await make_cast(world)
    page = await api.get("http://test/docs")
    days = {"date_from": "2020-01-01T00:00:00Z", "date_to": "2199-01-01T00:00:00Z"}
    tokens = ["", "a" * 64, page.headers["x-request-id"]]
    for token, name in product(tokens, ("X-CSRF-Token", "Cookie", "X-API-Key", "Authorization")):
        headers = {name: f"__Host-hs_csrf={token}" if name == "Cookie" else token}
        for path in ("/appointments", f"/doctors/{cast.doctor.doctor_id}/appointments"):
            refusal(await api.get(path, params=days, headers=headers), "AUTHENTICATION_ERROR")
    assert "set-cookie" not in page.headers


async def test_easyappointments_cve_2026_23622_a_get_changes_nothing(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2026-23622: an administrator's browser that was sent to a link changed and deleted things by GET."""
    cast = await make_cast(world)
    cast.ids["token"] = "x"
    before = await fingerprint(owner)
    known = {(operation.method, operation.path) for operation in operations(app)}
    for operation in operations(app):
        if operation.method == "GET":
            continue
        url = operation.url(cast.ids)
        answer = await api.get(url, headers=cast.admin.headers)
        if ("GET", operation.path) not in known:
            assert answer.status_code in {400, 405}, f"{operation}: {answer.status_code}"
        for method, name in product(("DELETE", "PUT", operation.method), ("_method", "method", "X-HTTP-Method")):
            answer = await api.get(url, params={name: method, "is_active": "false"}, headers=cast.admin.headers)
            assert answer.status_code in {400, 404, 405}, f"{operation}: {answer.status_code}"
    assert await fingerprint(owner) == before


async def test_easyappointments_cve_2023_1367_what_people_write_is_never_run(
    api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection
):
    """CVE-2023-1367: code in names and settings was run; here it is text in answers, calendars and mails."""
    admin, patient = await world.admin(), await world.patient(user={"name": TEMPLATES[:200]})
    made = await api.post("/clinics", json={"name": TEMPLATES, "address": TEMPLATES}, headers=admin.headers)
    assert made.json()["name"] == TEMPLATES
    doctor = await world.doctor(made.json()["id"])
    await api.put("/users/me", json={"name": TEMPLATES}, headers=doctor.headers)
    body = booking(patient, doctor, await world.slot(doctor), reason_for_visit=TEMPLATES)
    booked = (await api.post("/appointments/book", json=body, headers=patient.headers)).json()
    assert booked["reason_for_visit"] == TEMPLATES
    calendar = await api.get(f"/appointments/{booked['id']}/calendar.ics", headers=patient.headers)
    sent = await mails(app, Ledger(owner, app))
    assert len(sent) == 1
    for text in (calendar.text.replace("\r\n ", ""), *sent):
        assert "7*191" in text
        assert "1337" not in text
