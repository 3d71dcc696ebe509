"""Patients, as a caller sees them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from health_services.pagination import write_cursor
from tests.api.answers import instant, next_page, read_pages, refusal, shape
from tests.factories import World

KEYS = {
    "id", "user_id", "name", "email", "mobile_no", "address", "date_of_birth", "blood_group", "allergies",
    "emergency_contact", "sex", "preferred_language", "is_active", "created_at", "updated_at",
}  # fmt: skip
GUIDE = {
    "date_of_birth": "1990-01-15",
    "blood_group": "O+",
    "allergies": "Penicillin",
    "emergency_contact": "9876543210",
}
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


async def test_the_guides_example(api: httpx.AsyncClient, world: World):
    patient = await world.patient(user={"name": "John Doe", "mobile_no": "1", "address": "123 Main St"})
    path = f"/patients/{patient.patient_id}"
    empty = shape((await api.get(path, headers=patient.headers)).json(), KEYS)
    account = {"user_id": patient.user_id, "name": "John Doe", "email": patient.email, "mobile_no": "1"}
    assert empty | account | {"address": "123 Main St", "is_active": True} | dict.fromkeys(GUIDE) == empty
    changed = await api.put(path, json=GUIDE, headers=patient.headers)
    assert changed.status_code == 200, changed.text
    body = shape(changed.json(), KEYS)
    assert body == empty | GUIDE | {"updated_at": body["updated_at"]}
    assert instant(body["updated_at"]) > instant(empty["updated_at"])
    assert (await api.get(path, headers=patient.headers)).json() == body


async def test_an_update_changes_only_what_is_sent(api: httpx.AsyncClient, world: World):
    patient = await world.patient(sex="other", allergies="Dust")
    path = f"/patients/{patient.patient_id}"
    before = (await api.get(path, headers=patient.headers)).json()
    assert (await api.put(path, json={}, headers=patient.headers)).json() == before
    changed = (await api.put(path, json={"blood_group": "AB-"}, headers=patient.headers)).json()
    assert changed == before | {"blood_group": "AB-", "updated_at": changed["updated_at"]}
    every = ("date_of_birth", "blood_group", "allergies", "emergency_contact", "sex", "preferred_language")
    cleared = await api.put(path, json=dict.fromkeys(every), headers=patient.headers)
    assert {cleared.json()[field] for field in every} == {None}
    refusal(await api.put(path, json={"is_active": None}, headers=patient.headers), "VALIDATION_ERROR", "is_active")


@pytest.mark.parametrize(
    "sent",
    [
        *({"blood_group": group} for group in ("A+", "A-", "B+", "B-", "AB+", "AB-", "O+", "O-")),
        *({"sex": sex} for sex in ("female", "male", "other", "unknown")),
        *({"preferred_language": language} for language in ("en", "pt-BR", "zh-Hant-TW", "gsw")),
        {"date_of_birth": YESTERDAY},
        {"date_of_birth": "1904-02-29"},
        {"allergies": "a" * 2000, "emergency_contact": "\U0001f600" * 200},
        {"allergies": "Nuts\n\u0639\u0631\u0628\u064a\t\U0001f95c"},
    ],
)
async def test_bounds_are_inside(api: httpx.AsyncClient, world: World, sent: dict[str, str]):
    patient = await world.patient()
    changed = await api.put(f"/patients/{patient.patient_id}", json=sent, headers=patient.headers)
    assert changed.status_code == 200, changed.text
    assert changed.json() | sent == changed.json()


async def test_unknown_patients(api: httpx.AsyncClient, world: World):
    for person in (await world.admin(), await world.patient()):
        refusal(await api.get("/patients/999", headers=person.headers), "RESOURCE_NOT_FOUND")
        refusal(await api.put("/patients/999", json={}, headers=person.headers), "RESOURCE_NOT_FOUND")


async def test_a_person_without_a_login(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    sent = {"name": "Maria Silva", "email": "Maria@Example.org", "mobile_no": "5550100", "address": "Rua 1"}
    sent |= GUIDE | {"preferred_language": "pt-BR", "sex": "female"}
    for person in (await world.staff(), await world.admin()):
        made = await api.post("/patients", json=sent, headers=person.headers)
        assert made.status_code == 201, made.text
        body = shape(made.json(), KEYS)
        assert body | sent | {"email": str(sent["email"]).lower()} == body
        account = await owner.fetchrow("SELECT role, password_hash FROM users WHERE id = $1", body["user_id"])
        assert dict(account) == {"role": "patient", "password_hash": None}
        sent["email"] = "Other@Example.org"
    login = await api.post("/auth/login", json={"email": "maria@example.org", "password": "anything at all"})
    refusal(login, "AUTHENTICATION_ERROR")


async def test_only_the_name_is_needed_and_several_have_no_email(api: httpx.AsyncClient, world: World):
    admin, doctor = await world.admin(), await world.doctor()
    for name in ("\U0001f600", "\u05e9\u05e8\u05d4", "x" * 200):
        made = await api.post("/patients", json={"name": name, "email": " "}, headers=admin.headers)
        assert made.status_code == 201, made.text
        assert (made.json()["name"], made.json()["email"]) == (name, None)
    body = {"patient_id": made.json()["id"], "doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id}
    body["slot_id"] = await world.slot(doctor)
    assert (await api.post("/appointments/book", json=body, headers=admin.headers)).status_code == 201


async def test_an_email_belongs_to_one_person(api: httpx.AsyncClient, world: World):
    admin, patient = await world.admin(), await world.patient()
    sent = {"name": "Copy", "email": patient.email.upper()}
    refusal(await api.post("/patients", json=sent, headers=admin.headers), "EMAIL_ALREADY_REGISTERED")


async def test_doctors_and_administrators_make_their_own_record(api: httpx.AsyncClient, world: World):
    for person in (await world.doctor(), await world.admin()):
        made = await api.post("/patients", json=GUIDE, headers=person.headers)
        assert made.status_code == 201, made.text
        body = shape(made.json(), KEYS)
        assert body | GUIDE | {"user_id": person.user_id, "email": person.email} == body
        profile = (await api.get("/auth/profile", headers=person.headers)).json()
        assert profile["patient_id"] == body["id"]
        own = f"/patients/{body['id']}"
        assert (await api.get(own, headers=person.headers)).json() == body
        refusal(await api.post("/patients", json={}, headers=person.headers), "CONFLICT")
    doctor = await world.doctor()
    refusal(await api.post("/patients", json={"name": "Else"}, headers=doctor.headers), "AUTHORIZATION_ERROR")


async def search(api: httpx.AsyncClient, headers: dict[str, str], query: str) -> list[str]:
    answer = await api.post("/patients/search", json={"query": query}, headers=headers)
    assert answer.status_code == 200, answer.text
    return [shape(row, {"id", "name", "date_of_birth", "is_active"})["name"] for row in answer.json()]


async def test_searching(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    people: dict[str, dict[str, Any]] = {
        "Maria Silva": {"email": "maria@example.org", "mobile_no": "5550100"},
        "Mario Rossi": {},
        "Sean O'Neil": {},
        "\u05e9\u05e8\u05d4 \u05db\u05d4\u05df": {},
    }
    for name, account in people.items():
        await world.patient(user={"name": name, **account})
    await world.admin()
    for query, found in (
        ("mari", ["Maria Silva", "Mario Rossi"]),
        ("MARIA", ["Maria Silva"]),
        ("sil mar", ["Maria Silva"]),
        ("O'Neil", ["Sean O'Neil"]),
        ("\u05e9\u05e8", ["\u05e9\u05e8\u05d4 \u05db\u05d4\u05df"]),
        ("Maria@Example.org", ["Maria Silva"]),
        ("5550100", ["Maria Silva"]),
        ("555", []),
        ("aria", []),
        ("nobody", []),
    ):
        assert await search(api, admin.headers, query) == found, query


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    query=st.text("ab'\\:*&|!()<-> \u05d0\U0001f600%_\"", min_size=2, max_size=12).filter(lambda q: len(q.strip()) > 1)
)
async def test_no_text_breaks_the_search(api: httpx.AsyncClient, world: World, query: str):
    assert await search(api, (await world.admin()).headers, query) == []


async def test_pages_of_found_patients(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    made = [(await world.patient(user={"name": "Ann"})).patient_id for _ in range(3)]
    first = await api.post("/patients/search?limit=2", json={"query": "ann"}, headers=admin.headers)
    assert [row["id"] for row in first.json()] == made[:2]
    address = next_page(first)
    assert address == f"/api/v1/patients/search?cursor={write_cursor((made[1],))}&limit=2"
    for rest_of in (address.removeprefix("/api/v1"), "/patients/search?skip=2"):
        rest = await api.post(rest_of, json={"query": "ann"}, headers=admin.headers)
        assert [row["id"] for row in rest.json()] == made[2:]
        assert "link" not in rest.headers


async def test_pages_of_a_patients_appointments_default_to_100(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(max_patients_per_day=1000), await world.patient()
    made = [await world.appointment(patient, doctor) for _ in range(101)]
    pages = await read_pages(api, f"/patients/{patient.patient_id}/appointments", 100, headers=patient.headers)
    assert pages == [made[:100], made[100:]]
