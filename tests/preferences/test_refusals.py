"""What preferences refuse by form: each field by its name, and nothing changes."""

from typing import Any

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import MISSING, Wrong, all_refused, bodies, choices, each, texts, urls_refused
from tests.factories import World

PATH = "/users/me/preferences"
GOOD: dict[str, Any] = {
    "channels": {"appointment_reminder": ["sms"]},
    "reminder_lead_minutes": [60],
    "quiet_hours": {"start": "21:30", "end": "07:00"},
    "time_zone": "Europe/Berlin",
    "locale": "de",
}
TIMES: tuple[Any, ...] = (
    "", "24:00", "7:00", "07:0", "07:00:00", "07:60", "-1:00", "07:00Z", "07:00+01:00", "seven", "0700", " 07:00",
    "07:00\n", "\u0660\u0667:00", 7, 700, 25200.0, True, None, [], {}, MISSING,
)  # fmt: skip

NO_LISTS: tuple[Any, ...] = (None, "email", 1, {})
NO_CHANNELS: tuple[Any, ...] = ("fax", "", "EMAIL", 1, None, [])


def channels(value: Any, *fields: str) -> Wrong:
    """These channels for reminders are refused by these names."""
    return Wrong(
        {"channels": {"appointment_reminder": value}}, tuple(f"channels.appointment_reminder{f}" for f in fields)
    )


def quiet(field: str, *values: Any) -> list[Wrong]:
    """Quiet hours with each of these in place of one end."""
    good = {"start": "21:30", "end": "07:00"}
    changed = [{name: at for name, at in (good | {field: value}).items() if at is not MISSING} for value in values]
    return [Wrong({"quiet_hours": hours}, (f"quiet_hours.{field}",)) for hours in changed]


def leads(*values: Any) -> list[Wrong]:
    """A list with each of these as its second lead time."""
    field = ("reminder_lead_minutes[1]",)
    return [Wrong({"reminder_lead_minutes": [60, value]}, field) for value in values]


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    assert (await api.put(PATH, json=GOOD, headers=patient.headers)).status_code == 200
    cases = [
        *bodies(),
        *each("channels", None, "", 1, True, [], ["email"]),
        Wrong({"channels": {"newsletter": ["email"]}}, ("channels.newsletter",)),
        Wrong({"channels": {"": ["email"]}}, ("channels",)),
        channels(["email", "email"], ""),
        channels(["email", "sms", "push", "email"], ""),
        *(channels(value, "") for value in NO_LISTS),
        *(channels(["sms", value], "[1]") for value in NO_CHANNELS),
        *each("reminder_lead_minutes", None, "", 60, True, {}, [5, 6, 7, 8, 9, 10], [60, 60]),
        *leads(4, 20161, 0, -60, "60", 60.0, 60.5, True, None, [60], 10**300),
        *each("quiet_hours", "", "21:30-07:00", 1, True, [], {"start": "07:00", "end": "07:00"}),
        Wrong({"quiet_hours": {}}, ("quiet_hours.start", "quiet_hours.end")),
        *quiet("start", *TIMES),
        *quiet("end", *TIMES),
        Wrong({"quiet_hours": {"start": "21:30", "end": "07:00", "zone": "UTC"}}, ("quiet_hours.zone",)),
        *each("time_zone", "Mars/Olympus", "europe/berlin", "+01:00", "../etc/passwd", "CEST", "/UTC", "UTC\x00"),
        *texts("time_zone", 64, required=True),
        *choices("locale", nullable=True),
        *each("locale", "de-AT", "DE", "xx", "de\n", " de"),
        Wrong({"user_id": 1}, ("user_id",)),
        Wrong({"locale": "xx", "time_zone": "no"}, ("locale", "time_zone")),
    ]
    await all_refused(api, owner, ("PUT", PATH), patient.headers, GOOD, cases)


async def test_no_body_and_unknown_parameters(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.patient()).headers
    refusal(await api.put(PATH, headers=headers), "VALIDATION_ERROR", "body")
    refusal(await api.put(PATH, content=b"locale=de", headers=headers), "UNSUPPORTED_MEDIA_TYPE")
    for method in ("GET", "PUT"):
        await urls_refused(api, owner, headers, {f"{PATH}?user_id=1": "user_id"}, method)


async def test_an_impossible_wish_is_not_kept_in_part(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    patient = await world.patient()
    sent = GOOD | {"quiet_hours": {"start": "07:00", "end": "07:00"}}
    refusal(await api.put(PATH, json=sent, headers=patient.headers), "VALIDATION_ERROR", "quiet_hours")
    assert await owner.fetchval("SELECT count(*) FROM notification_preferences") == 0
