"""Sealed columns: nothing clinical in the clear, nothing moved or changed that opens, keys that come and go."""

import base64

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import async_sessionmaker
from structlog.testing import capture_logs

from health_services.appointments.repository import AppointmentRepository
from health_services.database.base import Base
from health_services.database.context import as_service
from health_services.database.engine import make_engine
from health_services.database.resealing import insist_on_rights, sealed_tables
from health_services.database.sealing import KeyRing, Vault, key_of
from health_services.errors import OperatorError, UnavailableException
from health_services.patients.models import Patient
from tests.conftest import test_settings
from tests.factories import World, booking
from tests.servers import TestDatabase

ONE, OTHER = b"1" * 32, b"2" * 32
PLACE = ("patients", "allergies", 7)


def vault(**keys: bytes) -> Vault:
    ring = KeyRing(keys or {"one": ONE})
    return Vault(lambda: ring)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 2**63 - 1))
def test_a_text_comes_back_as_it_was(text: str, row_id: int):
    sealed = vault().seal("patients", "allergies", row_id, text)
    assert vault().open("patients", "allergies", row_id, sealed) == text
    assert key_of(sealed) == "one"


def test_what_stands_there_tells_nothing_and_is_never_the_same():
    first, second = (vault().seal(*PLACE, "Penicillin") for _ in range(2))
    assert first.startswith("sealed:one:")
    assert first != second
    assert b"enicillin" not in base64.urlsafe_b64decode(first.rpartition(":")[2] + "==")


@pytest.mark.parametrize(
    "place", [("appointments", "allergies", 7), ("patients", "emergency_contact", 7), ("patients", "allergies", 8)]
)
def test_a_value_that_was_moved_does_not_open(place: tuple[str, str, int]):
    refused(vault(), vault().seal(*PLACE, "Penicillin"), "it was changed, or sealed for another place", place)


def test_a_value_that_was_changed_does_not_open():
    sealed = vault().seal(*PLACE, "Penicillin")
    head, _, encoded = sealed.rpartition(":")
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        text = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        refused(vault(), f"{head}:{text}", "it was changed, or sealed for another place")
    refused(vault(), f"{head}:{'A' * 41}", "it was changed, or sealed for another place")


def refused(
    opener: Vault, sealed: str, reason: str, place: tuple[str, str, int] = PLACE, key: str | None = "one"
) -> None:
    """It does not open, and the log says where and why, and nothing of the value."""
    with capture_logs() as logs, pytest.raises(UnavailableException) as caught:
        opener.open(*place, sealed)
    expected = dict(zip(("table", "column", "id"), place, strict=True))
    assert logs == [
        {"event": "a sealed value cannot be opened", "log_level": "error", "reason": reason, "key": key, **expected}
    ]
    assert str(caught.value) == UnavailableException.default_detail


def test_a_value_whose_key_is_missing_does_not_open():
    refused(vault(two=OTHER), vault().seal(*PLACE, "Penicillin"), "the key is missing")


def test_every_key_opens_and_the_first_one_seals():
    old = vault(one=ONE).seal(*PLACE, "Penicillin")
    both = vault(two=OTHER, one=ONE)
    assert both.open(*PLACE, old) == "Penicillin"
    new = both.seal(*PLACE, "Penicillin")
    assert key_of(new) == "two"
    assert vault(two=OTHER).open(*PLACE, new) == "Penicillin"


@pytest.mark.parametrize(
    "text", ["", "Penicillin", "sealed:", "sealed:one:", "sealed:one:short", "Sealed:one:" + "A" * 38]
)
def test_what_was_never_sealed_is_read_as_it_is_where_there_once_was_clear_text(text: str):
    assert vault().open(*PLACE, text) == text
    assert key_of(text) is None
    elsewhere = ("totp_authenticators", "secret", 7)
    if text:
        refused(vault(), text, "it was never sealed", elsewhere, key=None)
    else:
        assert vault().open(*elsewhere, text) == "", "what was emptied"


def test_a_person_who_enters_what_looks_sealed_gets_it_back():
    entered = str(vault().seal("patients", "allergies", 8, "somebody else's"))
    sealed = vault().seal(*PLACE, entered)
    assert vault().open(*PLACE, sealed) == entered


def test_a_message_is_authentic_under_its_key_alone():
    key_id, mac = vault(two=OTHER, one=ONE).authenticate(b"audit", b"message")
    assert (key_id, len(mac)) == ("two", 32)
    assert vault(two=OTHER).is_authentic(b"audit", b"message", key_id, mac) is True
    assert vault(two=OTHER).is_authentic(b"audit", b"other", key_id, mac) is False
    assert vault(two=OTHER).is_authentic(b"other", b"message", key_id, mac) is False
    assert vault(two=ONE).is_authentic(b"audit", b"message", key_id, mac) is False
    assert vault(one=ONE).is_authentic(b"audit", b"message", key_id, mac) is None


def test_the_sealed_columns_are_found_in_the_models():
    found = {(table.name, table.key, column) for table in sealed_tables(Base.metadata) for column in table.columns}
    assert found >= {
        ("appointments", "id", "reason_for_visit"),
        ("appointments", "id", "notes"),
        ("patients", "id", "allergies"),
        ("patients", "id", "emergency_contact"),
    }


CLINICAL = {"allergies": "Penicillin", "emergency_contact": "Sister, +1 555 0100"}


async def clear_texts(owner: asyncpg.Connection) -> list[str]:
    """What of these columns stands in the database in the clear."""
    rows = await owner.fetch(
        """SELECT value FROM (
               SELECT unnest(ARRAY[allergies, emergency_contact]) AS value FROM patients
               UNION ALL SELECT unnest(ARRAY[reason_for_visit, notes]) FROM appointments) AS every
           WHERE value !~ '^sealed:test:[A-Za-z0-9_-]{38,}$'"""
    )
    return [row["value"] for row in rows]


async def test_what_the_api_writes_is_sealed_and_read_again(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin, doctor, patient = await world.admin(), await world.doctor(), await world.patient()
    made = await api.post("/patients", json={"name": "Ann", **CLINICAL}, headers=admin.headers)
    assert made.status_code == 201, made.text
    record = f"/patients/{patient.patient_id}"
    changed = await api.put(record, json=CLINICAL, headers=patient.headers)
    for answer in (made, changed, await api.get(record, headers=patient.headers)):
        assert {name: answer.json()[name] for name in CLINICAL} == CLINICAL
    body = booking(patient, doctor, await world.slot(doctor), reason_for_visit="Palpitations")
    booked = await api.post("/appointments/book", json=body, headers=patient.headers)
    one = f"/appointments/{booked.json()['id']}"
    written = await api.put(one, json={"notes": "Rest."}, headers=doctor.headers)
    listed = await api.get(f"{record}/appointments", headers=doctor.headers)
    cancelled = await api.post(f"{one}/cancel", headers=doctor.headers)
    assert booked.json()["reason_for_visit"] == "Palpitations"
    for found in (
        written.json(),
        listed.json()[0],
        cancelled.json(),
        (await api.get(one, headers=doctor.headers)).json(),
    ):
        assert (found["reason_for_visit"], found["notes"]) == ("Palpitations", "Rest.")
    assert await owner.fetchval("SELECT count(allergies) + count(emergency_contact) FROM patients") == 4
    assert await owner.fetchval("SELECT count(reason_for_visit) + count(notes) FROM appointments") == 2
    assert await clear_texts(owner) == []


async def test_a_sealed_text_is_cleared_like_any_other(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient(allergies="Dust")
    record = f"/patients/{patient.patient_id}"
    assert (await api.get(record, headers=patient.headers)).json()["allergies"] == "Dust"
    answer = await api.put(record, json={"allergies": None}, headers=patient.headers)
    assert answer.json()["allergies"] is None
    assert await owner.fetchval("SELECT allergies FROM patients") is None


async def test_the_limit_is_that_of_the_clear_text(api: httpx.AsyncClient, world: World):
    patient = await world.patient()
    record = f"/patients/{patient.patient_id}"
    longest = "\U0001f600" * 2000
    assert (await api.put(record, json={"allergies": longest}, headers=patient.headers)).json()["allergies"] == longest
    assert (await api.put(record, json={"allergies": longest + "!"}, headers=patient.headers)).status_code == 400


async def test_a_row_that_cannot_be_opened_is_503_and_tells_nothing(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    patient, other = await world.patient(), await world.patient()
    record = f"/patients/{patient.patient_id}"
    assert (await api.put(record, json={"allergies": "Dust"}, headers=patient.headers)).status_code == 200
    await owner.execute("UPDATE patients SET allergies = (SELECT max(allergies) FROM patients)")
    answer = await api.get(f"/patients/{other.patient_id}", headers=other.headers)
    assert (answer.status_code, answer.json()["error_code"]) == (503, "UNAVAILABLE")
    assert "sealed" not in answer.text
    assert (await api.get(record, headers=patient.headers)).json()["allergies"] == "Dust"


async def test_a_forgotten_seal_writes_nothing(app: FastAPI, world: World, owner: asyncpg.Connection):
    """Neither a model nor an attribute that was set takes clear text past the repository."""
    doctor, patient = await world.doctor(), await world.patient()
    appointment_id = await world.appointment(patient, doctor)
    user = await world.user()
    with pytest.raises(StatementError, match="only what a vault has sealed"):
        async with app.state.database.writing() as session, as_service(session):
            session.add(Patient(user_id=user.user_id, allergies="Dust"))
            await session.flush()
    with pytest.raises(StatementError, match="only what a vault has sealed"):
        async with app.state.database.writing() as session, as_service(session):
            found = await AppointmentRepository(session).get_for_update(appointment_id)
            assert found
            found[0].notes = "Rest."
            await session.flush()
    assert await owner.fetchval("SELECT count(notes) FROM appointments") == 0


async def test_keys_are_rotated_by_nobody_from_whom_rows_are_hidden(app: FastAPI, database: TestDatabase):
    tables = sealed_tables(Base.metadata)
    async with app.state.database.reading() as session:
        with pytest.raises(OperatorError, match="needs the database's owner"):
            await insist_on_rights(session, tables)
    engine = make_engine(database.owner_url)
    async with async_sessionmaker(engine)() as session:
        await insist_on_rights(session, tables)
    await engine.dispose()


def test_tests_have_a_key_of_their_own():
    assert list(test_settings("postgresql:///none").encryption_keys) == ["test"]
