"""One appointment as a file."""

import asyncpg
import httpx
from fastapi import FastAPI

from tests.access.cast import make_cast
from tests.api.answers import refusal
from tests.calendars.readers import by_ical_js, by_icalendar
from tests.factories import World
from tests.notifications.ledger import prefer


async def test_those_concerned_get_the_file(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world, reason_for_visit="Palpitations", notes="Take it easy")
    number = cast.ids["appointment_id"]
    path = f"/appointments/{number}/calendar.ics"
    shown = (await api.get(f"/appointments/{number}", headers=cast.patient.headers)).json()
    for person in (cast.patient, cast.doctor, cast.staff, cast.admin):
        answer = await api.get(path, headers=person.headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        (found,) = by_icalendar(answer.content)
        assert by_ical_js({"it": answer.content})["it"] == [found]
        assert found.uid.startswith(f"appointment-{number}@")
        assert found.starts_at.isoformat() == shown["slot_datetime"].replace("Z", "+00:00")
        assert (found.status, found.sequence, found.attendees) == ("TENTATIVE", shown["revision"], ())
        assert not [word for word in ("Palpitations", "Take it easy", "Cardiology") if word in answer.text]
    for person in (cast.other_patient, cast.other_doctor, cast.other_staff):
        refusal(await api.get(path, headers=person.headers), "AUTHORIZATION_ERROR")
    refusal(await api.get(path), "AUTHENTICATION_ERROR")
    refusal(await api.get("/appointments/999/calendar.ics", headers=cast.admin.headers), "RESOURCE_NOT_FOUND")


async def test_the_file_of_a_cancelled_appointment_cancels_the_entry(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient()
    path = f"/appointments/{await world.appointment(patient, doctor)}"
    (before,) = by_icalendar((await api.get(f"{path}/calendar.ics", headers=patient.headers)).content)
    assert (await api.post(f"{path}/cancel", headers=patient.headers)).status_code == 200
    (after,) = by_icalendar((await api.get(f"{path}/calendar.ics", headers=patient.headers)).content)
    assert (after.uid, after.status) == (before.uid, "CANCELLED")
    assert after.sequence > before.sequence


async def test_it_is_written_in_the_language_of_whoever_asks(
    app: FastAPI, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    cast = await make_cast(world)
    path = f"/appointments/{cast.ids['appointment_id']}/calendar.ics"
    name = await owner.fetchval("SELECT name FROM users WHERE id = $1", cast.doctor.user_id)
    await owner.execute("UPDATE patients SET preferred_language = 'Deutsch' WHERE user_id = $1", cast.patient.user_id)
    await prefer(api, cast.doctor, locale="hi")
    await prefer(api, cast.staff, locale="ar")
    before = app.state.settings
    app.state.settings = before.model_copy(update={"default_locale": "pt"})
    try:
        answers = [
            await api.get(path, headers=person.headers)
            for person in (cast.patient, cast.doctor, cast.staff, cast.admin)
        ]
    finally:
        app.state.settings = before
    summaries = [by_icalendar(answer.content)[0].summary for answer in answers]
    assert summaries == [f"Termin: {name}", f"अपॉइंटमेंट: {name}", f"موعد: \u2068{name}\u2069", f"Consulta: {name}"]
    await prefer(api, cast.patient, locale="es")
    (chosen,) = by_icalendar((await api.get(path, headers=cast.patient.headers)).content)
    assert chosen.summary == f"Cita: {name}"
