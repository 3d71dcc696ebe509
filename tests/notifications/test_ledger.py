"""What a booking and its cancelling write into the ledger, in whose transaction, and what they do not write."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.api.answers import refusal
from tests.factories import Person, World, booking, soon
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Ledger, book
from tests.races.test_commit import failing_commit

HOUR = timedelta(hours=1)


def in_hours(hours: float) -> datetime:
    """An instant as the database keeps it."""
    return datetime.now(UTC).replace(microsecond=0) + hours * HOUR


@pytest.mark.parametrize(("hours", "leads"), [(72, [1440, 120]), (24.1, [1440, 120]), (23, [120]), (1.9, [])])
async def test_a_booking_is_told_once_and_its_reminders_are_planned(
    api: httpx.AsyncClient, world: World, ledger: Ledger, hours: float, leads: list[int]
):
    patient, start, before = await world.patient(), in_hours(hours), datetime.now(UTC)
    appointment = await book(api, world, patient, start)
    told, *reminders = await ledger.rows()
    assert (told["kind"], told["lead_minutes"]) == (BOOKED, None)
    assert before <= told["due_at"] <= datetime.now(UTC)
    assert [(row["kind"], row["lead_minutes"]) for row in reminders] == [(REMINDER, lead) for lead in leads]
    assert [row["due_at"] for row in reminders] == [start - timedelta(minutes=lead) for lead in leads]
    for row in (told, *reminders):
        assert (row["user_id"], row["appointment_id"]) == (patient.user_id, appointment)
        assert (row["subject"], row["revision"]) == (f"appointment:{appointment}", 0)
        assert (row["channel"], row["state"], row["attempts"]) == ("email", "queued", 0)
        assert (row["starts_at"], row["expires_at"]) == (start, start)
        assert (row["next_attempt_at"], row["sent_at"], row["last_error"]) == (row["due_at"], None, None)
        lead = row["lead_minutes"] or "-"
        subject = f"appointment:{appointment}/0/{lead}"
        assert row["dedupe_key"] == f"{row['kind']}/{patient.user_id}/email/{subject}"


async def test_the_patient_is_told_whoever_books(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor = await world.doctor()
    for person in (doctor, await world.staff(doctor.clinic_id), await world.admin()):
        patient = await world.patient()
        body = booking(patient, doctor, await world.slot(doctor, soon() + (50 + person.user_id) * HOUR))
        assert (await api.post("/appointments/book", json=body, headers=person.headers)).status_code == 201
        assert len(await ledger.rows(user_id=patient.user_id)) == 3
    assert len(await ledger.rows()) == 9


async def test_the_rows_are_written_by_the_bookings_own_transaction(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    await book(api, world, await world.patient(), in_hours(72))
    transactions = await owner.fetch(
        "SELECT xmin::text FROM notifications UNION ALL SELECT xmin::text FROM appointments"
    )
    assert len(transactions) == 4
    assert len(set(transactions)) == 1


async def test_a_booking_that_is_refused_tells_nobody(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor, one, other = await world.doctor(max_patients_per_day=1), await world.patient(), await world.patient()
    start = soon().replace(hour=9) + 24 * HOUR
    full, same_day = await world.slot(doctor, start), await world.slot(doctor, start + HOUR)
    begun = await world.slot(doctor, start - 72 * HOUR)
    first = booking(one, doctor, full)
    assert (await api.post("/appointments/book", json=first, headers=one.headers)).status_code == 201
    before = await ledger.rows()
    refused: list[tuple[Person, dict[str, Any], str]] = [
        (one, first, "DUPLICATE_BOOKING"),
        (other, booking(other, doctor, full), "SLOT_UNAVAILABLE"),
        (other, booking(other, doctor, same_day), "SLOT_UNAVAILABLE"),
        (other, booking(other, doctor, begun), "SLOT_UNAVAILABLE"),
        (other, booking(one, doctor, same_day), "AUTHORIZATION_ERROR"),
        (other, booking(other, doctor, 999), "RESOURCE_NOT_FOUND"),
    ]
    for person, body, code in refused:
        refusal(await api.post("/appointments/book", json=body, headers=person.headers), code)
    assert await ledger.rows() == before
    assert len(before) == 3


async def test_of_many_who_want_one_place_one_is_told(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor, people = await world.doctor(), [await world.patient() for _ in range(8)]
    slot = await world.slot(doctor, in_hours(72))
    answers = await asyncio.gather(
        *(api.post("/appointments/book", json=booking(p, doctor, slot), headers=p.headers) for p in people)
    )
    (booked,) = [p for p, answer in zip(people, answers, strict=True) if answer.status_code == 201]
    assert [row["user_id"] for row in await ledger.rows()] == [booked.user_id] * 3


async def test_a_booking_whose_commit_fails_leaves_no_message(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor, in_hours(72)))
    async with failing_commit(owner, "XX000"):
        refusal(await api.post("/appointments/book", json=body, headers=patient.headers), "INTERNAL_ERROR")
    assert await ledger.rows() == []
    assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 201
    assert len(await ledger.rows()) == 3


async def test_a_booking_that_is_run_again_tells_once(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    """Its first commit is sent away, as when it met another; a sequence is all that remembers."""
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor, in_hours(72)))
    await owner.execute(
        """CREATE SEQUENCE tried; GRANT USAGE ON SEQUENCE tried TO health_app;
           CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF nextval('tried') = 1 THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF;
              RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER fail_once AFTER INSERT ON appointments
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_once()"""
    )
    try:
        booked = await api.post("/appointments/book", json=body, headers=patient.headers)
        assert await owner.fetchval("SELECT last_value FROM tried") == 2
    finally:
        await owner.execute("DROP FUNCTION fail_once CASCADE; DROP SEQUENCE tried")
    assert booked.status_code == 201, booked.text
    assert [row["appointment_id"] for row in await ledger.rows()] == [booked.json()["id"]] * 3


async def test_without_its_messages_there_is_no_booking(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor, in_hours(72)))
    await owner.execute("ALTER TABLE notifications ADD CONSTRAINT no_room CHECK (lead_minutes IS NULL)")
    try:
        assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 500
    finally:
        await owner.execute("ALTER TABLE notifications DROP CONSTRAINT no_room")
    assert await owner.fetchval("SELECT count(*) FROM appointments") == 0
    assert await ledger.rows() == []


async def test_an_answer_that_is_given_again_tells_nothing(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor, in_hours(72)))
    headers = patient.headers | {"Idempotency-Key": "once"}
    answers = [await api.post("/appointments/book", json=body, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len(await ledger.rows()) == 3
    cancel = f"/appointments/{answers[0].json()['id']}/cancel"
    for _ in range(3):
        assert (await api.post(cancel, headers=headers | {"Idempotency-Key": "twice"})).status_code == 200
    assert len(await ledger.rows(kind=CANCELLED)) == 1


async def test_nothing_personal_is_in_it(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient(user={"name": "Carla Jones", "email": "carla@home.net", "mobile_no": "+1 555 0199"})
    doctor = await world.doctor()
    body = booking(patient, doctor, await world.slot(doctor, in_hours(72)), reason_for_visit="Palpitations")
    booked = await api.post("/appointments/book", json=body, headers=patient.headers)
    cancel = f"/appointments/{booked.json()['id']}/cancel"
    await api.post(cancel, json={"cancelled_reason": "in hospital"}, headers=patient.headers)
    text = await owner.fetchval("SELECT string_agg(n::text, ' ') FROM notifications n")
    assert "appointment_booked" in text
    for secret in ("Carla", "Jones", "home.net", "555 0199", "5550199", "Palpitations", "hospital", "Person"):
        assert secret not in text


@pytest.mark.parametrize(
    ("column", "by"), [("patient", "patient"), ("doctor", "clinic"), ("staff", "clinic"), ("admin", "clinic")]
)
async def test_a_cancelling_is_told_and_takes_back_what_still_waits(
    api: httpx.AsyncClient, world: World, ledger: Ledger, column: str, by: str
):
    doctor, patient, start = await world.doctor(), await world.patient(), in_hours(72)
    caller = {
        "patient": patient,
        "doctor": doctor,
        "staff": await world.staff(doctor.clinic_id),
        "admin": await world.admin(),
    }[column]
    appointment = await book(api, world, patient, start, doctor)
    (booked,) = await ledger.rows(kind=BOOKED)
    await ledger.set(booked["id"], state="'sent'")
    cancelled = await api.post(f"/appointments/{appointment}/cancel", headers=caller.headers)
    assert cancelled.json()["revision"] == 1
    assert await ledger.states() == [
        (BOOKED, None, "email", "sent"),
        (REMINDER, 1440, "email", "skipped"),
        (REMINDER, 120, "email", "skipped"),
        (CANCELLED, None, "email", "queued"),
    ]
    assert {row["last_error"] for row in await ledger.rows(state="skipped")} == {"the appointment changed"}
    (told,) = await ledger.rows(kind=CANCELLED)
    assert (told["data"], told["revision"], told["user_id"]) == (f'{{"by": "{by}"}}', 1, patient.user_id)
    assert told["dedupe_key"] == f"{CANCELLED}/{patient.user_id}/email/appointment:{appointment}/1/-"
    assert told["expires_at"] == start


async def test_a_late_cancelling_is_still_told_for_a_day(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, doctor = await world.patient(), await world.doctor()
    appointment = await book(api, world, patient, in_hours(0.5), doctor)
    await api.post(f"/appointments/{appointment}/cancel", headers=doctor.headers)
    (told,) = await ledger.rows(kind=CANCELLED)
    assert abs(told["expires_at"] - told["created_at"] - 24 * HOUR) < timedelta(minutes=5)


async def test_a_second_cancelling_tells_nothing(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, doctor = await world.patient(), await world.doctor()
    path = f"/appointments/{await book(api, world, patient, in_hours(72), doctor)}/cancel"
    people = [patient, doctor, await world.admin()] * 2
    answers = await asyncio.gather(*(api.post(path, headers=person.headers) for person in people))
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
    refusal(await api.post(path, headers=doctor.headers), "CONFLICT")
    (told,) = await ledger.rows(kind=CANCELLED)
    (cancelled,) = [person for person, answer in zip(people, answers, strict=True) if answer.status_code == 200]
    assert told["data"] == f'{{"by": "{"patient" if cancelled is patient else "clinic"}"}}'


async def test_a_cancelling_whose_commit_fails_leaves_what_waits(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger
):
    patient = await world.patient()
    appointment = await book(api, world, patient, in_hours(72))
    before = await ledger.rows()
    async with failing_commit(owner, "XX000"):
        answer = await api.post(f"/appointments/{appointment}/cancel", headers=patient.headers)
        refusal(answer, "INTERNAL_ERROR")
    assert await ledger.rows() == before
    assert {row["state"] for row in before} == {"queued"}


async def test_who_books_the_place_again_is_told_again(api: httpx.AsyncClient, world: World, ledger: Ledger):
    patient, doctor, start = await world.patient(), await world.doctor(), in_hours(72)
    slot = await world.slot(doctor, start)
    made = []
    for _ in range(2):
        body = booking(patient, doctor, slot)
        booked = await api.post("/appointments/book", json=body, headers=patient.headers)
        made.append(booked.json()["id"])
        await api.post(f"/appointments/{made[-1]}/cancel", headers=patient.headers)
    for appointment in made:
        assert len(await ledger.rows(appointment_id=appointment)) == 4


async def test_the_application_cannot_unmake_what_was_sent(app: FastAPI, as_app: asyncpg.Connection, ledger: Ledger):
    for statement in ("DELETE FROM notifications", "TRUNCATE notifications", "UPDATE notifications SET user_id = 1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_app.execute(statement)
