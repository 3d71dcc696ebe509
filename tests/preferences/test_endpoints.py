"""How a person is told: what is usual, what he changes, and what he cannot change."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.notifications.models import SECURITY_KINDS, Kind
from tests.api.answers import refusal
from tests.factories import Person, World

PATH = "/users/me/preferences"
USUAL: dict[str, Any] = {
    "channels": {kind.value: ["email", "sms", "push"] for kind in Kind},
    "reminder_lead_minutes": [1440, 120],
    "quiet_hours": None,
    "time_zone": None,
    "locale": None,
}
REMINDER = "appointment_reminder"


async def people(world: World) -> list[Person]:
    """One of each role."""
    return [await world.patient(), await world.doctor(), await world.staff(), await world.admin()]


async def read(api: httpx.AsyncClient, person: Person) -> dict[str, Any]:
    answer = await api.get(PATH, headers=person.headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def change(api: httpx.AsyncClient, person: Person, **sent: Any) -> dict[str, Any]:
    """What the answer says, which is what is read afterwards."""
    answer = await api.put(PATH, json=sent, headers=person.headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == await read(api, person)
    body: dict[str, Any] = answer.json()
    return body


async def test_who_chose_nothing_has_what_is_usual(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    for person in await people(world):
        assert await read(api, person) == USUAL
    assert await owner.fetchval("SELECT count(*) FROM notification_preferences") == 0
    refusal(await api.get(PATH), "AUTHENTICATION_ERROR")
    refusal(await api.put(PATH, json={}), "AUTHENTICATION_ERROR")


async def test_everybody_changes_his_own(api: httpx.AsyncClient, world: World):
    everybody = await people(world)
    for place, person in enumerate(everybody):
        await change(api, person, reminder_lead_minutes=[60 + place])
    found = [(await read(api, person))["reminder_lead_minutes"] for person in everybody]
    assert found == [[60], [61], [62], [63]]


async def test_only_what_is_sent_changes_and_null_takes_it_back(api: httpx.AsyncClient, world: World):
    patient, expected = await world.patient(), dict(USUAL)
    quiet = {"start": "21:30", "end": "07:00"}
    steps: list[dict[str, Any]] = [
        {"locale": "de"},
        {"time_zone": "Europe/Berlin"},
        {"quiet_hours": quiet},
        {},
        {"reminder_lead_minutes": [2880, 5]},
        {"quiet_hours": {"start": "00:00", "end": "23:59"}},
        {"time_zone": None},
        {"locale": None},
        {"quiet_hours": None},
        {"reminder_lead_minutes": []},
    ]
    for step in steps:
        expected |= step
        assert await change(api, patient, **step) == expected


async def test_kinds_that_are_not_named_keep_their_channels(api: httpx.AsyncClient, world: World):
    patient, channels = await world.patient(), dict(USUAL["channels"])
    steps: list[dict[str, list[str]]] = [
        {REMINDER: ["sms", "email"]},
        {"appointment_booked": []},
        {},
        {"appointment_cancelled": ["push"], REMINDER: ["email"]},
        {"security_notice": ["sms", "email"], "password_reset": ["email"]},
        {REMINDER: ["push", "sms", "email"], "appointment_booked": ["email", "sms", "push"]},
    ]
    for step in steps:
        channels |= step
        assert (await change(api, patient, channels=step))["channels"] == channels


async def test_lead_times_are_shown_from_the_longest_on(api: httpx.AsyncClient, world: World):
    patient = await world.patient()
    shown = await change(api, patient, reminder_lead_minutes=[5, 20160, 60, 1440, 120])
    assert shown["reminder_lead_minutes"] == [20160, 1440, 120, 60, 5]


@pytest.mark.parametrize("locale", ["en", "de", "es", "fr", "pt", "hi", "ar"])
async def test_each_language(api: httpx.AsyncClient, world: World, locale: str):
    assert (await change(api, await world.patient(), locale=locale))["locale"] == locale


@pytest.mark.parametrize("kind", sorted(SECURITY_KINDS))
async def test_security_mail_cannot_be_switched_off(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, kind: str
):
    patient = await world.patient()
    for channels in ([], ["sms"], ["push", "sms"]):
        sent = {"channels": {kind: channels, REMINDER: []}, "locale": "de"}
        body = refusal(await api.put(PATH, json=sent, headers=patient.headers), "VALIDATION_ERROR", f"channels.{kind}")
        assert "email" in body["errors"][0]["message"]
    assert await read(api, patient) == USUAL
    assert await owner.fetchval("SELECT count(*) FROM notification_preferences") == 0
    assert (await change(api, patient, channels={kind: ["email"]}))["channels"][kind] == ["email"]


async def test_two_changes_at_once_both_count(api: httpx.AsyncClient, world: World):
    for _ in range(5):
        patient = await world.patient()
        sent: list[dict[str, Any]] = [
            {"channels": {REMINDER: ["sms"]}},
            {"channels": {"appointment_booked": []}},
            {"locale": "fr"},
            {"reminder_lead_minutes": [90]},
        ]
        answers = await asyncio.gather(*(api.put(PATH, json=body, headers=patient.headers) for body in sent))
        assert {answer.status_code for answer in answers} == {200}
        found = await read(api, patient)
        assert (found["channels"][REMINDER], found["channels"]["appointment_booked"]) == (["sms"], [])
        assert (found["locale"], found["reminder_lead_minutes"]) == ("fr", [90])
