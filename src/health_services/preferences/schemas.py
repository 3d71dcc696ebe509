"""Preferences: what is sent and answered."""

import re
from datetime import time
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from health_services.api.fields import AnswerShape, RequestShape, example, unless_sent
from health_services.clinics.schemas import TimeZone
from health_services.languages.locales import LOCALES
from health_services.notifications.models import Channel, Kind

LONGEST_LEAD = 14 * 24 * 60


def _different(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("must not name one twice")
    return values


def _wall_time(value: Any) -> Any:
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
        raise ValueError("must be a time of the day such as 21:30")
    return time.fromisoformat(value)


def _locale(value: str) -> str:
    if value not in LOCALES:
        raise ValueError(f"must be one of {', '.join(LOCALES)}")
    return value


WallTime = Annotated[
    time,
    BeforeValidator(_wall_time),
    PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^([01]\d|2[0-3]):[0-5]\d$", "examples": ["21:30"]}),
]
Channels = Annotated[list[Channel], Field(max_length=len(Channel)), AfterValidator(_different)]
LeadTimes = Annotated[
    list[Annotated[int, Field(strict=True, ge=5, le=LONGEST_LEAD)]],
    Field(max_length=5, description="minutes before the visit"),
    AfterValidator(_different),
]
Locale = Annotated[str, Field(max_length=8, json_schema_extra={"enum": list(LOCALES)}), AfterValidator(_locale)]


class QuietHours(RequestShape):
    """From one time of the day, included, to another, excluded; over midnight where the second is the earlier."""

    model_config = example(start="21:30", end="07:00")

    start: WallTime
    end: WallTime


def _not_empty(quiet: QuietHours | None) -> QuietHours | None:
    if quiet is not None and quiet.start == quiet.end:
        raise ValueError("must not begin when they end; null means none")
    return quiet


class PreferencesUpdate(RequestShape):
    """What is to change; kinds that are not named in `channels` keep theirs."""

    model_config = example(
        channels={"appointment_reminder": ["sms", "email"]},
        reminder_lead_minutes=[2880, 180],
        quiet_hours={"start": "21:30", "end": "07:00"},
        time_zone="Europe/Berlin",
        locale="de",
    )

    channels: dict[Kind, Channels] = unless_sent()
    reminder_lead_minutes: LeadTimes = unless_sent()
    quiet_hours: Annotated[QuietHours | None, AfterValidator(_not_empty)] = None
    time_zone: TimeZone | None = None
    locale: Locale | None = None


class PreferencesRead(AnswerShape):
    """How a person is told.

    `channels`: for each kind of message the channels in the order in which they are tried, each after the one before
    it failed for good; an empty list means not at all. `time_zone` null: that of the clinic; `locale` null: the
    patient's preferred language, or the service's.
    """

    model_config = example(
        channels={kind: list(Channel) for kind in Kind},
        reminder_lead_minutes=[1440, 120],
        quiet_hours=None,
        time_zone=None,
        locale=None,
    )

    channels: dict[Kind, list[Channel]]
    reminder_lead_minutes: list[int]
    quiet_hours: QuietHours | None
    time_zone: str | None
    locale: str | None
