"""What a row tells: one for each request whatever becomes of it, whose data a list showed, and ids alone."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from tests.access.cast import make_cast
from tests.database.test_constraints import failing, tries
from tests.factories import World, booking

AGAIN = "RAISE EXCEPTION 'again' USING ERRCODE = '40001';"


async def told(owner: asyncpg.Connection) -> list[tuple[str, str, int]]:
    rows = await owner.fetch("SELECT action, outcome, status FROM audit_log ORDER BY id")
    return [tuple(row) for row in rows]


async def last(owner: asyncpg.Connection) -> dict[str, Any]:
    return dict(await owner.fetchrow("SELECT * FROM audit_log ORDER BY id DESC LIMIT 1"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("RAISE EXCEPTION 'broken' USING ERRCODE = 'XX000';", 500),
        ("RAISE EXCEPTION 'full' USING ERRCODE = '53100';", 503),
        (AGAIN, 409),
    ],
)
async def test_a_request_that_fails_is_told_though_its_transaction_was_undone(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, body: str, status: int
):
    doctor, patient = await world.doctor(), await world.patient()
    request = booking(patient, doctor, await world.slot(doctor))
    async with failing(owner, "appointments", body):
        answer = await api.post("/appointments/book", json=request, headers=patient.headers)
    assert answer.status_code == status
    assert await told(owner) == [("book_appointment", "failed", status)]
    row = await last(owner)
    assert (row["user_id"], row["patient_ids"]) == (patient.user_id, [patient.patient_id])
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 0


async def test_a_request_that_is_carried_out_again_is_told_once(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    request = booking(patient, doctor, await world.slot(doctor))
    async with failing(owner, "appointments", f"IF (SELECT last_value FROM attempts) < 3 THEN {AGAIN} END IF;"):
        answer = await api.post("/appointments/book", json=request, headers=patient.headers)
        assert await tries(owner) == 3
    assert answer.status_code == 201
    assert await told(owner) == [("book_appointment", "success", 201)]


async def test_a_replayed_answer_is_told_each_time(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    request = booking(patient, doctor, await world.slot(doctor))
    headers = patient.headers | {"Idempotency-Key": "once"}
    answers = [await api.post("/appointments/book", json=request, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert await told(owner) == [("book_appointment", "success", 201)] * 3


async def test_of_many_at_once_each_is_told(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patients = await world.doctor(), await world.patients(10)
    slot = await world.slot(doctor)
    answers = await asyncio.gather(
        *(api.post("/appointments/book", json=booking(p, doctor, slot), headers=p.headers) for p in patients)
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    rows = await owner.fetch("SELECT user_id, status FROM audit_log")
    wanted = [(p.user_id, answer.status_code) for p, answer in zip(patients, answers, strict=True)]
    assert sorted(map(tuple, rows)) == sorted(wanted)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/nowhere", None),
        ("PATCH", "/patients/1", {}),
        ("GET", "/clinics", None),
    ],
)
async def test_what_is_about_nobody_is_not_told(
    api: httpx.AsyncClient, owner: asyncpg.Connection, method: str, path: str, body: Any
):
    await api.request(method, path, json=body)
    assert await told(owner) == []


async def test_bad_form_and_unknown_parameters_are_told(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    patient = await world.patient()
    record = f"/patients/{patient.patient_id}"
    await api.put(record, json={"no_such_field": 1}, headers=patient.headers)
    await api.put(record, content=b"{", headers=patient.headers | {"Content-Type": "application/json"})
    await api.put(record, content=b"a=1", headers=patient.headers)
    await api.get(record, params={"no_such_parameter": 1}, headers=patient.headers)
    await api.get("/patients/not-a-number", headers=patient.headers)
    await api.get(record, headers={"Authorization": "Bearer nonsense"})
    assert await told(owner) == [
        ("update_patient", "failed", 400), ("update_patient", "failed", 400), ("update_patient", "failed", 415),
        ("get_patient", "failed", 400), ("get_patient", "failed", 400), ("get_patient", "refused", 401),
    ]  # fmt: skip


async def test_lists_tell_whom_they_showed(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    cast = await make_cast(world)
    both = sorted([cast.patient.patient_id, cast.other_patient.patient_id])
    one = [cast.patient.patient_id]
    asked = [
        (cast.admin, "GET", "/appointments", None, both),
        (cast.admin, "GET", "/appointments?limit=1", None, one),
        (cast.staff, "GET", f"/appointments?patient_id={one[0]}", None, one),
        (cast.doctor, "GET", f"/doctors/{cast.doctor.doctor_id}/appointments", None, one),
        (cast.doctor, "GET", f"/patients/{one[0]}/appointments", None, one),
        (cast.admin, "POST", "/patients/search", {"query": "Person"}, both),
        (cast.other_staff, "POST", "/patients/search", {"query": "Person"}, []),
    ]
    for person, method, path, body, expected in asked:
        answer = await api.request(method, path, json=body, headers=person.headers)
        assert answer.status_code == 200
        row = await last(owner)
        assert (row["user_id"], row["patient_ids"]) == (person.user_id, expected), path


async def test_messages_tell_whose_they_are(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    cast = await make_cast(world)
    for path in ("/notifications", "/notifications/unreachable"):
        assert (await api.get(path, headers=cast.admin.headers)).json()
        row = await last(owner)
        assert cast.patient.user_id in row["user_ids"] or cast.patient.patient_id in row["patient_ids"], path


WORDS = ("Zaphod", "Zebra", "zulu", "Zinnia", "zither", "zenith")


async def test_rows_hold_ids_and_no_words(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor = await world.doctor()
    patient = await world.patient(user={"name": WORDS[0], "mobile_no": WORDS[1]})
    admin = await world.user("admin", email=f"{WORDS[2]}@example.org")
    slot = await world.slot(doctor)
    record = f"/patients/{patient.patient_id}"
    await api.put(record, json={"allergies": WORDS[3]}, headers=patient.headers)
    await api.post("/patients/search", json={"query": WORDS[0]}, headers=admin.headers)
    await api.post(
        "/appointments/book", json=booking(patient, doctor, slot, reason_for_visit=WORDS[4]), headers=patient.headers
    )
    await api.post("/auth/login", json={"email": f"{WORDS[2]}@example.org", "password": WORDS[5]})
    await api.get(f"/calendar/{WORDS[5]}.ics")
    await api.get(f"/unsubscribe/{WORDS[5]}")
    await api.get(record, params={WORDS[0]: WORDS[1]}, headers=patient.headers)
    rows = await owner.fetch("SELECT t::text FROM audit_log t")
    assert len(rows) == 7
    assert [(word, row[0]) for row in rows for word in WORDS if word.lower() in row[0].lower()] == []


async def test_an_answer_that_is_given_again_is_about_the_same_people(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    staff = await world.staff()
    headers = staff.headers | {"Idempotency-Key": "once"}
    for _ in range(2):
        made = await api.post("/patients", json={"name": "Grace Okafor"}, headers=headers)
        assert (await last(owner))["patient_ids"] == [made.json()["id"]]
    assert made.headers["Idempotent-Replayed"] == "true"


async def test_who_makes_anothers_account_is_the_one_who_acts(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    account = {"name": "Ada Wong", "email": "ada@example.org", "password": "three blue teapots", "role": "staff"}
    made = await api.post("/auth/register", json=account, headers=admin.headers)
    row = await last(owner)
    assert (row["user_id"], row["user_ids"]) == (admin.user_id, [made.json()["user"]["id"]])
    assert row["via"].startswith("session:")


async def test_a_request_refused_by_role_is_about_the_patient_whom_it_names(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    patient, staff = await world.patient(), await world.staff()
    path = f"/patients/{patient.patient_id}/emergency-access"
    assert (await api.post(path, json={}, headers=staff.headers)).status_code == 403
    assert (await last(owner))["patient_ids"] == [patient.patient_id]
    assert (await api.get(f"/patients/{'9' * 40}", headers=staff.headers)).status_code == 400
    assert (await last(owner))["patient_ids"] == []
