"""A doctor without any relation opens a record in an emergency: for an hour, on the record, and the patient is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.api.answers import instant, refusal, shape
from tests.factories import Person, World

REASON = "Unconscious in the emergency room; allergies needed."
CLINICAL: dict[str, Any] = {"blood_group": "AB-"}


async def break_glass(api: httpx.AsyncClient, doctor: Person, patient: Person, **headers: str) -> httpx.Response:
    path = f"/patients/{patient.patient_id}/emergency-access"
    return await api.post(path, json={"reason": REASON}, headers=doctor.headers | headers)


async def read(api: httpx.AsyncClient, doctor: Person, patient: Person) -> httpx.Response:
    return await api.get(f"/patients/{patient.patient_id}", headers=doctor.headers)


async def test_the_whole_way(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, colleague, patient = await world.doctor(), await world.doctor(), await world.patient(**CLINICAL)
    refusal(await read(api, doctor, patient), "AUTHORIZATION_ERROR")
    begun = datetime.now(UTC)
    answer = await break_glass(api, doctor, patient)
    assert answer.status_code == 201, answer.text
    until = instant(shape(answer.json(), {"expires_at"})["expires_at"])
    assert timedelta(minutes=59) < until - begun < timedelta(minutes=61)

    seen = await read(api, doctor, patient)
    assert (seen.status_code, seen.json()["blood_group"]) == (200, "AB-")
    refusal(await read(api, colleague, patient), "AUTHORIZATION_ERROR")
    refusal(await read(api, doctor, await world.patient()), "AUTHORIZATION_ERROR")
    record = f"/patients/{patient.patient_id}"
    refusal(await api.put(record, json={"sex": "male"}, headers=doctor.headers), "AUTHORIZATION_ERROR")

    log = (await api.get(f"{record}/access-log", headers=patient.headers)).json()
    assert [(row["action"], row["outcome"], row["user_id"]) for row in log] == [
        ("update_patient", "refused", doctor.user_id),
        ("get_patient", "refused", colleague.user_id),
        ("get_patient", "success", doctor.user_id),
        ("request_emergency_access", "success", doctor.user_id),
        ("get_patient", "refused", doctor.user_id),
    ]
    assert log[3]["name"] == await owner.fetchval("SELECT name FROM users WHERE id = $1", doctor.user_id)


async def test_it_ends_by_itself_at_once(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    await break_glass(api, doctor, patient)
    assert (await read(api, doctor, patient)).status_code == 200
    await owner.execute("UPDATE emergency_accesses SET expires_at = now() + interval '1 second'")
    assert (await read(api, doctor, patient)).status_code == 200
    await owner.execute("UPDATE emergency_accesses SET expires_at = now()")
    refusal(await read(api, doctor, patient), "AUTHORIZATION_ERROR")
    await break_glass(api, doctor, patient)
    assert (await read(api, doctor, patient)).status_code == 200


async def test_each_time_leaves_its_reason(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    first = await break_glass(api, doctor, patient)
    second = await break_glass(api, doctor, patient)
    assert instant(second.json()["expires_at"]) >= instant(first.json()["expires_at"])
    assert await owner.fetchval("SELECT count(*) FROM emergency_accesses") == 2
    key = {"Idempotency-Key": "lost-answer"}
    answers = [await break_glass(api, doctor, patient, **key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert await owner.fetchval("SELECT count(*) FROM emergency_accesses") == 3


async def test_the_reason_is_sealed(api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    await break_glass(api, doctor, patient)
    row = await owner.fetchrow("SELECT * FROM emergency_accesses")
    assert (row["patient_id"], row["doctor_id"]) == (patient.patient_id, doctor.doctor_id)
    assert row["reason"].startswith("sealed:")
    assert app.state.vault.open("emergency_accesses", "reason", row["id"], row["reason"]) == REASON
    told = await owner.fetch("SELECT t::text FROM audit_log t UNION ALL SELECT t::text FROM notifications t")
    assert "Unconscious" not in str(told)


async def test_the_patient_is_told_by_mail(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    await break_glass(api, doctor, patient)
    rows = await owner.fetch("SELECT kind, channel, user_id, data, state FROM notifications")
    assert [tuple(row) for row in rows] == [
        ("security_notice", "email", patient.user_id, '{"about": "emergency_access"}', "queued")
    ]


async def test_who_signed_in_long_ago_proves_again_who_he_is(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    await owner.execute("UPDATE sessions SET authenticated_at = now() - interval '11 minutes'")
    refusal(await break_glass(api, doctor, patient), "REAUTHENTICATION_REQUIRED")
    assert await owner.fetchval("SELECT count(*) FROM emergency_accesses") == 0
    row = await owner.fetchrow("SELECT action, outcome, patient_ids FROM audit_log")
    assert tuple(row) == ("request_emergency_access", "refused", [patient.patient_id])
    await owner.execute("UPDATE sessions SET authenticated_at = now() - interval '9 minutes'")
    assert (await break_glass(api, doctor, patient)).status_code == 201


@pytest.mark.parametrize("role", ["patient", "staff", "admin"])
async def test_only_doctors_can(api: httpx.AsyncClient, world: World, role: str):
    person, patient = await world.user(role), await world.patient()
    refusal(await break_glass(api, person, patient), "AUTHORIZATION_ERROR")


async def test_without_a_doctors_record_or_a_patient_there_is_nothing_to_open(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    half, patient = await world.user("doctor"), await world.patient()
    refusal(await break_glass(api, half, patient), "AUTHORIZATION_ERROR")
    nobody = Person(0, "", {}, patient_id=987_654_321)
    refusal(await break_glass(api, await world.doctor(), nobody), "RESOURCE_NOT_FOUND")
    ids: Any = await owner.fetchval("SELECT array_agg(patient_ids::text ORDER BY id) FROM audit_log")
    assert ids == [f"{{{patient.patient_id}}}", "{}"]


async def test_an_account_that_lost_its_role_sees_nothing_any_more(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    await break_glass(api, doctor, patient)
    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", doctor.user_id)
    headers = await world.sign_in(doctor.user_id, "doctor")
    refusal(await api.get(f"/patients/{patient.patient_id}", headers=headers), "AUTHORIZATION_ERROR")
