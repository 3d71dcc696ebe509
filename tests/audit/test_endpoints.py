"""Reading the audit: administrators everything, a patient who looked at his data."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from tests.access.cast import make_cast
from tests.api.answers import read_pages, refusal, shape
from tests.factories import Person, World

ENTRY = {
    "id", "at", "user_id", "via", "action", "object", "patient_ids", "user_ids", "address", "outcome", "status",
    "request_id",
}  # fmt: skip
ACCESS = {"id", "at", "user_id", "role", "name", "action", "object", "outcome", "via"}


async def listed(api: httpx.AsyncClient, admin: Person, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/audit", params=query, headers=admin.headers)
    assert answer.status_code == 200, answer.text
    return [shape(row, ENTRY) for row in answer.json()]


async def accesses(api: httpx.AsyncClient, patient: Person, who: Person | None = None) -> list[dict[str, Any]]:
    answer = await api.get(f"/patients/{patient.patient_id}/access-log", headers=(who or patient).headers)
    assert answer.status_code == 200, answer.text
    return [shape(row, ACCESS) for row in answer.json()]


async def test_administrators_find_entries_by_what_they_look_for(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world)
    record = f"/patients/{cast.patient.patient_id}"
    begun = datetime.now(UTC)
    for person in (cast.patient, cast.doctor, cast.other_doctor, cast.staff):
        await api.get(record, headers=person.headers)
    await api.get("/appointments", headers=cast.admin.headers)
    whole = await listed(api, cast.admin)
    assert [row["action"] for row in whole] == ["list_appointments"] + ["get_patient"] * 4
    assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True)

    async def count(**query: Any) -> int:
        return len(await listed(api, cast.admin, **query))

    assert await count(user_id=cast.doctor.user_id) == 1
    assert await count(patient_id=cast.patient.patient_id, action="get_patient") == 4
    assert await count(patient_id=cast.patient.patient_id, action="list_appointments") == 1
    assert await count(patient_id=cast.other_patient.patient_id, action="list_appointments") == 1
    assert await count(patient_id=cast.other_patient.patient_id, action="get_patient") == 0
    assert [row["user_id"] for row in await listed(api, cast.admin, outcome="refused")] == [cast.other_doctor.user_id]
    assert await count(outcome="failed") == 0
    assert await count(action="get_patient", date_from=begun.isoformat()) == 4
    assert await count(action="get_patient", date_to=begun.isoformat()) == 0
    assert await count(action="get_patient", date_to=whole[-1]["at"]) <= 1


async def test_the_pages_hold_everything_once(api: httpx.AsyncClient, world: World):
    patient, admin = await world.patient(), await world.admin()
    for _ in range(7):
        await api.get(f"/patients/{patient.patient_id}", headers=patient.headers)
    pages = await read_pages(api, f"/audit?user_id={patient.user_id}", 3, headers=admin.headers)
    assert [len(page) for page in pages] == [3, 3, 1]
    ids = [row for page in pages for row in page]
    assert ids == sorted(set(ids), reverse=True)


async def test_reading_the_audit_is_in_the_audit(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient, admin = await world.patient(), await world.admin()
    await listed(api, admin, patient_id=patient.patient_id, user_id=admin.user_id)
    row = await owner.fetchrow("SELECT * FROM audit_log")
    assert (row["action"], row["user_id"]) == ("list_audit", admin.user_id)
    assert (row["patient_ids"], row["user_ids"]) == ([patient.patient_id], [admin.user_id])


async def test_a_patient_sees_who_looked(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world)
    record = f"/patients/{cast.patient.patient_id}"
    await api.get(record, headers=cast.doctor.headers)
    await api.get("/appointments", headers=cast.staff.headers)
    await api.get(record, headers=cast.other_doctor.headers)
    await api.get(record, headers=cast.other_patient.headers)
    await api.get(f"/patients/{cast.other_patient.patient_id}", headers=cast.other_doctor.headers)
    found = await accesses(api, cast.patient)
    names = await _names(api, world)
    expected = [
        ("get_patient", "refused", "patient", None, None),
        ("get_patient", "refused", "doctor", cast.other_doctor.user_id, names[cast.other_doctor.user_id]),
        ("list_appointments", "success", "staff", cast.staff.user_id, names[cast.staff.user_id]),
        ("get_patient", "success", "doctor", cast.doctor.user_id, names[cast.doctor.user_id]),
    ]
    assert [tuple(row[k] for k in ("action", "outcome", "role", "user_id", "name")) for row in found] == expected
    assert {row["via"] for row in found} == {"session"}
    own = await accesses(api, cast.patient)
    assert (own[0]["action"], own[0]["user_id"], own[0]["name"]) == (
        "list_accesses", cast.patient.user_id, names[cast.patient.user_id],
    )  # fmt: skip
    assert await accesses(api, cast.patient, cast.admin)


async def _names(api: httpx.AsyncClient, world: World) -> dict[int, str]:
    return {row["id"]: row["name"] for row in await world.owner.fetch("SELECT id, name FROM users")}


async def test_who_was_somebody_else_then_keeps_his_name(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    cast = await make_cast(world)
    await api.get(f"/patients/{cast.patient.patient_id}", headers=cast.staff.headers)
    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", cast.staff.user_id)
    assert (await accesses(api, cast.patient))[0]["user_id"] == cast.staff.user_id


async def test_the_access_log_has_pages(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world)
    for n in range(7):
        path = f"/patients/{cast.patient.patient_id}" if n % 2 else "/appointments"
        await api.get(path, headers=cast.admin.headers)
    path = f"/patients/{cast.patient.patient_id}/access-log"
    pages = await read_pages(api, path, 3, headers=cast.admin.headers)
    ids = [row for page in pages for row in page]
    # each page is an access itself, which comes before the first page
    assert len(ids) == 7
    assert ids == sorted(set(ids), reverse=True)


async def test_others_do_not_read_it(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    cast = await make_cast(world)
    path = f"/patients/{cast.patient.patient_id}/access-log"
    for person in (cast.doctor, cast.other_doctor, cast.staff, cast.other_patient):
        refusal(await api.get(path, headers=person.headers), "AUTHORIZATION_ERROR")
    rows = await owner.fetch("SELECT patient_ids, outcome FROM audit_log")
    assert [tuple(row) for row in rows] == [([cast.patient.patient_id], "refused")] * 4
    for person in (cast.admin, cast.doctor):
        refusal(await api.get("/patients/987654321/access-log", headers=person.headers), "RESOURCE_NOT_FOUND")


async def test_a_doctor_who_is_a_patient_reads_his_own(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    made = await api.post("/patients", json={}, headers=doctor.headers)
    patient = Person(doctor.user_id, doctor.email, doctor.headers, patient_id=made.json()["id"])
    assert [row["action"] for row in await accesses(api, patient)] == ["create_patient"]


async def test_old_entries_are_found_by_their_day(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient, admin = await world.patient(), await world.admin()
    await api.get(f"/patients/{patient.patient_id}", headers=patient.headers)
    old = datetime(2020, 2, 3, 12, tzinfo=UTC)
    await owner.execute("UPDATE audit_log SET at = $1", old)
    assert [row["at"] for row in await listed(api, admin, date_to=(old + timedelta(1)).isoformat())] == [
        "2020-02-03T12:00:00Z"
    ]
