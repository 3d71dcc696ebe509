"""What stands in a feed: a person's own appointments as they are now, and nobody else's."""

import re
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event

from health_services.calendars import service
from tests.calendars.conftest import Subscribe
from tests.calendars.readers import Read, by_ical_js, by_icalendar
from tests.factories import World, soon
from tests.notifications.ledger import prefer
from tests.statements import sent_past_sqlalchemy

CLINICAL = ("Cardiology", "Palpitations", "Take it easy", "Penicillin", "Got better")


async def read(api: httpx.AsyncClient, path: str) -> list[Read]:
    """The entries, on which both readers agree."""
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    found = by_icalendar(answer.content)
    assert by_ical_js({"it": answer.content})["it"] == found
    return found


async def test_a_patient_and_his_doctor_see_the_same_appointment(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    clinic = await world.clinic(
        "America/New_York", name="City Health Center", address="123 Main St", city="New York", zip_code="10001",
        phone="9876543210",
    )  # fmt: skip
    doctor = await world.doctor(clinic, specialty=CLINICAL[0])
    patient = await world.patient(user={"name": "Ada Wong"}, allergies=CLINICAL[3])
    start = soon().replace(hour=15) + timedelta(days=40)
    appointment = await world.appointment(
        patient, doctor, await world.slot(doctor, start, duration_minutes=45), reason_for_visit=CLINICAL[1],
        notes=CLINICAL[2],
    )  # fmt: skip
    await owner.execute("UPDATE users SET name = 'Grace Okafor' WHERE id = $1", doctor.user_id)
    paths = await subscribe(patient), await subscribe(doctor)
    (of_patient,), (of_doctor,) = [await read(api, path) for path in paths]
    assert of_patient.uid == of_doctor.uid
    assert of_patient.uid.startswith(f"appointment-{appointment}@")
    assert (of_patient.summary, of_doctor.summary) == ("Appointment: Grace Okafor", f"Appointment {appointment}")
    for found in (of_patient, of_doctor):
        assert (found.starts_at, found.ends_at) == (start, start + timedelta(minutes=45))
        assert (found.status, found.sequence) == ("TENTATIVE", 0)
        assert found.location == "City Health Center, 123 Main St, 10001 New York"
        assert found.description == "Phone: 9876543210"
        assert found.attendees == ()
    for path in paths:
        text = (await api.get(path)).text
        assert "DTSTART;TZID=America/New_York:" in text
        assert not [word for word in (*CLINICAL, "Ada", "Wong", patient.email, doctor.email) if word in text]


async def test_nobody_elses_are_in_it(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    doctor, other_doctor = await world.doctor(), await world.doctor()
    colleague = await world.doctor(doctor.clinic_id)
    patient, other = await world.patients(2)
    made = {
        (who.user_id, by.user_id): f"appointment-{await world.appointment(who, by)}"
        for who in (patient, other)
        for by in (doctor, colleague, other_doctor)
    }
    for person in (patient, other, doctor, colleague, other_doctor):
        found = [entry.uid.partition("@")[0] for entry in await read(api, await subscribe(person))]
        assert found == [uid for pair, uid in made.items() if person.user_id in pair]
    for stranger in (await world.patient(), await world.admin(), await world.staff(doctor.clinic_id)):
        assert await read(api, await subscribe(stranger)) == []


async def test_a_doctor_is_a_patient_too(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    doctor, colleague, patient = await world.doctor(), await world.doctor(), await world.patient()
    await owner.execute("UPDATE users SET name = 'Colleague' WHERE id = $1", colleague.user_id)
    await owner.execute("UPDATE patients SET user_id = $1 WHERE id = $2", doctor.user_id, patient.patient_id)
    his_own = await world.appointment(patient, doctor)
    at_colleague = await world.appointment(patient, colleague)
    others = await world.appointment(await world.patient(), doctor)
    path = await subscribe(doctor)
    entries = await read(api, path)
    assert len(entries) == 3
    found = {entry.uid.partition("@")[0]: entry.summary for entry in entries}
    name = await owner.fetchval("SELECT name FROM users WHERE id = $1", doctor.user_id)
    of_patient = {
        f"appointment-{his_own}": f"Appointment: {name}", f"appointment-{at_colleague}": "Appointment: Colleague",
    }  # fmt: skip
    assert found == of_patient | {f"appointment-{others}": f"Appointment {others}"}

    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", doctor.user_id)
    found = {entry.uid.partition("@")[0]: entry.summary for entry in await read(api, path)}
    assert found == of_patient, "without the role, a doctor's record gives no right"


async def test_which_appointments(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    doctor, patient = await world.doctor(), await world.patient()
    now = datetime.now(UTC).replace(microsecond=0)
    past = {"completed": timedelta(days=-90, hours=1), "no_show": timedelta(days=-2), "cancelled": timedelta(days=-1)}
    future = {"confirmed": timedelta(days=3), "pending": timedelta(days=800)}
    kept = [
        await world.appointment(patient, doctor, await world.slot(doctor, now + after), status=status)
        for status, after in (past | future).items()
    ]
    await world.appointment(patient, doctor, await world.slot(doctor, now - timedelta(days=90, hours=1)))
    in_error = await world.slot(doctor, now + timedelta(days=4))
    await world.appointment(patient, doctor, in_error, status="cancelled", is_active=False)
    for person in (patient, doctor):
        found = await read(api, await subscribe(person))
        assert [entry.uid.partition("@")[0] for entry in found] == [f"appointment-{number}" for number in kept]
        shown = ["CONFIRMED", "CONFIRMED", "CANCELLED", "CONFIRMED", "TENTATIVE"]
        assert [entry.status for entry in found] == shown


async def test_a_feed_holds_what_is_next_up_to_its_limit(
    api: httpx.AsyncClient, world: World, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
):
    doctor, patient = await world.doctor(), await world.patient()
    slots = [await world.slot(doctor, soon() + timedelta(days=days)) for days in (4, 1, 3, 2, -9, -5)]
    _, first, third, second, _, _ = [await world.appointment(patient, doctor, slot) for slot in slots]
    monkeypatch.setattr(service, "MOST", 3)
    for person in (patient, doctor):
        found = await read(api, await subscribe(person))
        expected = [f"appointment-{number}" for number in (first, second, third)]
        assert [entry.uid.partition("@")[0] for entry in found] == expected


async def test_a_cancelled_appointment_keeps_its_uid_and_raises_its_sequence(
    api: httpx.AsyncClient, world: World, subscribe: Subscribe
):
    doctor, patient = await world.doctor(), await world.patient()
    appointment = await world.appointment(patient, doctor)
    path = await subscribe(patient)
    (before,) = await read(api, path)
    assert (await api.post(f"/appointments/{appointment}/cancel", headers=patient.headers)).status_code == 200
    (after,) = await read(api, path)
    assert (after.uid, after.status) == (before.uid, "CANCELLED")
    assert after.sequence > before.sequence
    assert (after.starts_at, after.ends_at) == (before.starts_at, before.ends_at)


async def test_a_moved_appointment_keeps_its_uid_and_raises_its_sequence(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, soon().replace(hour=12) + timedelta(days=1))
    await world.appointment(patient, doctor, slot)
    path = await subscribe(patient)
    (before,) = await read(api, path)
    later = before.starts_at + timedelta(hours=3)
    await owner.execute("UPDATE appointment_slots SET slot_datetime = $1 WHERE id = $2", later, slot)
    (after,) = await read(api, path)
    assert (after.uid, after.starts_at) == (before.uid, later)
    assert after.sequence > before.sequence


async def test_what_did_not_change_is_not_sent_again(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    doctor, patient = await world.doctor(), await world.patient()
    appointment = await world.appointment(patient, doctor)
    path = await subscribe(patient)
    first = await api.get(path)
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for asked in (etag, etag.removeprefix("W/"), "*"):
        same = await api.get(path, headers={"If-None-Match": asked})
        assert (same.status_code, same.content) == (304, b"")
        assert (same.headers["etag"], same.headers["cache-control"]) == (etag, "private, no-cache")
    assert (await api.get(path)).content == first.content
    head = await api.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)
    assert head.headers["content-length"] == str(len(first.content))

    await api.post(f"/appointments/{appointment}/cancel", headers=patient.headers)
    changed = await api.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_it_is_written_in_the_language_of_its_owner(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    doctor = await world.doctor(await world.clinic(phone="9876543210"))
    patient = await world.patient(preferred_language="Deutsch")
    number = await world.appointment(patient, doctor)
    name = await owner.fetchval("SELECT name FROM users WHERE id = $1", doctor.user_id)
    path, of_doctor = await subscribe(patient), await subscribe(doctor)

    async def words(path: str) -> tuple[str, str, str | None, str]:
        answer = await api.get(path)
        (entry,) = by_icalendar(answer.content)
        called = re.findall(r"^X-WR-CALNAME:(.*)\r$", answer.text, re.MULTILINE)
        return called[0], entry.summary, entry.description, answer.headers["etag"]

    german, english = await words(path), await words(of_doctor)
    assert german[:3] == ("Termine", f"Termin: {name}", "Telefon: 9876543210")
    assert english[:3] == ("Appointments", f"Appointment {number}", "Phone: 9876543210")
    await prefer(api, patient, locale="fr")
    french = await words(path)
    assert french[:3] == ("Rendez-vous", f"Rendez-vous : {name}", "Téléphone : 9876543210")
    await prefer(api, doctor, locale="ar")
    arabic = await words(of_doctor)
    assert arabic[:3] == ("المواعيد", f"موعد {number}", "الهاتف: \u20689876543210\u2069")
    assert len({german[3], french[3], english[3], arabic[3]}) == 4
    assert (await api.get(path, headers={"If-None-Match": german[3]})).status_code == 200
    assert (await api.get(path, headers={"If-None-Match": french[3]})).status_code == 304


async def test_who_chose_no_language_reads_that_of_the_house(
    app: FastAPI, api: httpx.AsyncClient, world: World, subscribe: Subscribe
):
    path = await subscribe(await world.patient(preferred_language="Klingon"))
    before = app.state.settings
    app.state.settings = before.model_copy(update={"default_locale": "es"})
    try:
        assert "NAME:Citas\r\n" in (await api.get(path)).text
    finally:
        app.state.settings = before
    assert "NAME:Appointments\r\n" in (await api.get(path)).text


async def test_a_revoked_feed_is_not_called_unchanged(api: httpx.AsyncClient, world: World, subscribe: Subscribe):
    patient = await world.patient()
    path = await subscribe(patient)
    etag = (await api.get(path)).headers["etag"]
    await api.delete("/users/me/calendar-feed", headers=patient.headers)
    for asked in (etag, "*"):
        assert (await api.get(path, headers={"If-None-Match": asked})).status_code == 404


async def test_names_from_the_database_are_only_names(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, subscribe: Subscribe
):
    hostile = "A; B, C\r\nATTENDEE:mailto:x\nEND:VEVENT\u2028\u202e"
    doctor = await world.doctor(await world.clinic(name=hostile, address=hostile, city=hostile))
    await owner.execute("UPDATE users SET name = $1 WHERE id = $2", hostile, doctor.user_id)
    patient = await world.patient()
    await world.appointment(patient, doctor)
    (found,) = await read(api, await subscribe(patient))
    left = "A; B, C ATTENDEE:mailto:x END:VEVENT"
    assert found.summary == f"Appointment: {left}"
    assert found.location == ", ".join([left] * 3)
    assert found.attendees == ()


async def test_a_feed_is_read_by_four_statements(
    app: FastAPI, api: httpx.AsyncClient, world: World, subscribe: Subscribe
):
    doctor, patient = await world.doctor(), await world.patient()
    for _ in range(3):
        await world.appointment(patient, doctor)
    path = await subscribe(patient)
    sent: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        sent.append(statement)

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with sent_past_sqlalchemy(sent.append):
            assert len(await read(api, path)) == 3
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(sent) == 4, "whose it is, acting for him, all entries, the audit"
