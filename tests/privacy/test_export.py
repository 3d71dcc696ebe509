"""What a person is given: everything that is known of him, and nothing of anybody else."""

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.privacy.inventory import HOLDINGS
from tests.api.answers import refusal
from tests.factories import Person, World
from tests.limits.clocks import Clock, limiter_on
from tests.privacy.seeding import BORN, Seeded, insert, seed

_NAMING = """
    SELECT t.relname AS table, a.attname AS column,
           CASE WHEN k.confrelid = 'users'::regclass OR a.attname IN ('user_id', 'user_ids') THEN 'user' ELSE 'patient'
           END AS whose, a.attndims > 0 AS is_list
    FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
         AND k.confrelid IN ('users'::regclass, 'patients'::regclass)
    WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace
      AND (k.oid IS NOT NULL OR a.attname IN ('user_id', 'user_ids', 'patient_id', 'patient_ids'))"""


async def naming(owner: asyncpg.Connection) -> dict[str, list[asyncpg.Record]]:
    """Of each table, the columns that name an account or a patient, as the catalogue has them."""
    found: dict[str, list[asyncpg.Record]] = {}
    for row in await owner.fetch(_NAMING):
        found.setdefault(row["table"], []).append(row)
    return found


async def counted(owner: asyncpg.Connection, person: Person) -> dict[str, int]:
    """How many rows of each table name the person, by the catalogue alone."""
    counts = {"users": 1}
    for table, columns in (await naming(owner)).items():
        ids = {"user": person.user_id, "patient": person.patient_id}
        either = [
            f"{ids[c['whose']]} = ANY ({c['column']})" if c["is_list"] else f"{c['column']} = {ids[c['whose']]}"
            for c in columns
        ]
        counts[table] = await owner.fetchval(f"SELECT count(*) FROM {table} WHERE {' OR '.join(either)}")
    return counts


def rows_of(exported: dict[str, Any]) -> dict[str, int]:
    """How many rows of each kind an export holds."""
    return {
        kind: len(value) if isinstance(value, list) else int(value is not None)
        for kind, value in exported.items()
        if kind != "exported_at"
    }


async def take(api: httpx.AsyncClient, caller: Person, patient_id: int, **params: str) -> httpx.Response:
    """An export that succeeded."""
    answer = await api.get(f"/patients/{patient_id}/export", headers=caller.headers, params=params)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.fixture
async def zebra(owner: asyncpg.Connection, app: FastAPI, world: World, api: httpx.AsyncClient) -> Seeded:
    """A former doctor who is a patient now, with a row in every table, and a giraffe with as many."""
    giraffe = await seed(owner, app, world, "GIRAFFE")
    zebra = await seed(owner, app, world, "ZEBRA")
    for seeded in (giraffe, zebra):
        clinic = await owner.fetchval("SELECT clinic_id FROM clinic_staff WHERE user_id = $1", seeded.person.user_id)
        former = {"user_id": seeded.person.user_id, "clinic_id": clinic, "is_active": False}
        await insert(owner, app, seeded.mark, "doctors", **former)
        assert (await api.get(f"/patients/{seeded.person.patient_id}", headers=seeded.person.headers)).is_success
    return zebra


@pytest.mark.parametrize("by", ["himself", "administrator"])
async def test_every_row_that_names_the_person_is_in_it(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World, zebra: Seeded, by: str
):
    caller = zebra.person if by == "himself" else await world.admin()
    expected = await counted(owner, zebra.person)
    exported = (await take(api, caller, zebra.person.patient_id)).json()

    expected["webhook_deliveries"] = 1  # they name an appointment
    found = rows_of(exported)
    assert {holding.table: found[holding.kind] for holding in HOLDINGS} == expected
    assert all(expected.values()), "a table without a row proves nothing"
    assert "GIRAFFE" not in json.dumps(exported)


async def test_it_is_readable(api: httpx.AsyncClient, zebra: Seeded):
    exported = (await take(api, zebra.person, zebra.person.patient_id)).json()
    assert exported["account"]["name"] == "ZEBRA users"
    assert exported["patient"]["allergies"] == "ZEBRA allergies"
    assert exported["patient"]["date_of_birth"] == BORN.isoformat()
    (visit,) = exported["appointments"]
    assert (visit["reason_for_visit"], visit["notes"]) == (
        "ZEBRA appointments.reason_for_visit", "ZEBRA appointments.notes",
    )  # fmt: skip
    assert visit["starts_at"].endswith("Z")
    assert visit["doctor_name"].startswith("Person ")
    assert exported["emergency_accesses"][0]["reason"] == "ZEBRA emergency_accesses.reason"
    assert exported["api_keys"][0]["scopes"] == ["ZEBRA api_keys.scopes"]
    assert exported["access_log"][0]["action"] == "get_patient"
    assert exported["access_log"][0]["is_own"] is True


async def test_what_lets_somebody_in_is_not_in_it(api: httpx.AsyncClient, zebra: Seeded):
    text = (await take(api, zebra.person, zebra.person.patient_id)).text
    for secret in (
        "password_hash", "token_hash", "successor", "secret_hash", "totp_authenticators.secret", "code_hash",
        "credential_id", "public_key", "p256dh", "push_subscriptions.auth", "endpoint\"", "notifications.data",
        "one_time_tokens.data", "idempotency_keys.answer", "webhooks.secret",
    ):  # fmt: skip
        assert secret not in text, secret
        assert f"ZEBRA {secret}".encode().hex() not in text


async def test_notes_are_the_patients_once_the_visit_is_not_ahead(
    api: httpx.AsyncClient, owner: asyncpg.Connection, world: World, zebra: Seeded
):
    async def notes(caller: Person) -> tuple[bool, str | None]:
        (visit,) = (await take(api, caller, zebra.person.patient_id)).json()["appointments"]
        return visit["has_notes"], visit["notes"]

    admin = await world.admin()
    assert await notes(zebra.person) == (True, "ZEBRA appointments.notes")
    assert await notes(admin) == (True, None)
    await owner.execute("UPDATE appointments SET status = 'confirmed' WHERE id = $1", zebra.appointment_id)
    assert await notes(zebra.person) == (True, None)


async def test_as_files(api: httpx.AsyncClient, zebra: Seeded):
    plain = (await take(api, zebra.person, zebra.person.patient_id)).json()
    answer = await take(api, zebra.person, zebra.person.patient_id, format="zip")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="patient-{zebra.person.patient_id}.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    names = set(archive.namelist())
    assert names == {f"{holding.kind}.json" for holding in HOLDINGS} | {"calendar.ics", "README.txt"}
    files = {name: archive.read(name) for name in names}
    for holding in HOLDINGS:
        if holding.kind != "access_log":  # these requests were added to it
            assert json.loads(files[f"{holding.kind}.json"]) == plain[holding.kind]
    assert b"SUMMARY:Appointment" in files["calendar.ics"]
    readme = files["README.txt"].decode()
    assert all(name in readme for name in names - {"README.txt"})


async def test_files_by_the_accept_header(api: httpx.AsyncClient, zebra: Seeded):
    path = f"/patients/{zebra.person.patient_id}/export"
    wanted = zebra.person.headers | {"Accept": "application/zip"}
    assert (await api.get(path, headers=wanted)).content[:2] == b"PK"
    both = await api.get(path, headers=wanted, params={"format": "json"})
    assert both.headers["content-type"] == "application/json"


async def test_another_patient_who_looked_is_not_named(api: httpx.AsyncClient, owner: asyncpg.Connection, world: World):
    patient, other, doctor = await world.patient(), await world.patient(), await world.doctor()
    await owner.execute("UPDATE users SET name = 'Nosy Neighbour' WHERE id = $1", other.user_id)
    for looker in (other, doctor):
        assert (await api.get(f"/patients/{patient.patient_id}", headers=looker.headers)).status_code == 403
    log = (await take(api, patient, patient.patient_id)).json()["access_log"]
    name = await owner.fetchval("SELECT name FROM users WHERE id = $1", doctor.user_id)
    assert [(row["by_role"], row["by_name"], row["outcome"]) for row in log] == [
        ("patient", None, "refused"), ("doctor", name, "refused"),
    ]  # fmt: skip


async def test_so_many_an_hour_and_no_more(api: httpx.AsyncClient, app: FastAPI, world: World, tmp_path: Path):
    patient, other, usual = await world.patient(), await world.patient(), app.state.limiter
    app.state.limiter = limiter_on(tmp_path / "counts", '{"export": "2/hour"}', Clock(6000))
    try:
        for _ in range(2):
            await take(api, patient, patient.patient_id)
        refused = await api.get(f"/patients/{patient.patient_id}/export", headers=patient.headers)
        refusal(refused, "RATE_LIMITED")
        await take(api, other, other.patient_id)
    finally:
        await app.state.limiter.close()
        app.state.limiter = usual


async def test_a_long_history_is_whole(api: httpx.AsyncClient, owner: asyncpg.Connection, world: World):
    """More rows than are read at once."""
    patient = await world.patient()
    query = """INSERT INTO sessions (user_id, client, expires_at)
               SELECT $1, 'device ' || n, now() FROM generate_series(1, 1234) n"""
    await owner.execute(query, patient.user_id)
    started = datetime.now(UTC)
    exported = (await take(api, patient, patient.patient_id)).json()
    assert len({row["client"] for row in exported["sessions"]}) == 1235
    assert datetime.fromisoformat(exported["exported_at"]) >= started
