"""Appointments as iCalendar: RFC 5545 for files and feeds, RFC 5546 for invitations, RFC 7986 for refreshing.

Times are the clinic's wall times with their VTIMEZONE, which is written here: the library's begins summer time an
hour late. A wall time that comes twice cannot be told from its twin (RFC 5545, 3.3.5), so it is written in UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from urllib.parse import quote
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, Timezone, TimezoneDaylight, TimezoneStandard, vCalAddress, vText

from health_services.database.base import AnyRow
from health_services.languages.speaking import Speaker, greetable, line_of

Method: TypeAlias = Literal["PUBLISH", "REQUEST", "CANCEL"]
Status: TypeAlias = Literal["pending", "confirmed", "cancelled", "completed", "no_show"]

PRODUCT = "-//health-services//calendar//EN"
REFRESH = timedelta(hours=1)

_STATUS = {"pending": "TENTATIVE", "cancelled": "CANCELLED"}
_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
# What stands unescaped in the address of a mailto: link (RFC 6068).
_MAILBOX = "@!$'*+-/=_~&"


@dataclass(frozen=True)
class Entry:
    """What a calendar shows of one appointment; each text is one line, in the language of whoever reads it.

    `starts_at`, `ends_at` and `changed_at` are in UTC; `time_zone` is the IANA name of the wall times that people
    read. `changed_at` stays the same until something changes. `organizer` and `attendee` are name and address; only
    invitations have them.
    """

    uid: str
    sequence: int
    status: Status
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    summary: str
    location: str | None
    description: str | None
    changed_at: datetime
    organizer: tuple[str, str] | None = None
    attendee: tuple[str, str] | None = None


def entry_of(row: AnyRow, say: Speaker, *, is_own: bool) -> Entry:
    """The entry of a row of the view appointment_details; `is_own`: for the patient, who reads the doctor's name.

    Nobody else's entry names a person, for calendars are copied to other companies' servers. Nothing in it is
    clinical. What was entered in error is shown as cancelled.
    """
    phone = say.shown(row.clinic_phone or "")
    place = " ".join(filter(None, (row.clinic_zip_code, row.clinic_city)))
    return Entry(
        uid=row.calendar_uid,
        sequence=row.revision,
        status=row.status if row.is_active else "cancelled",
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        time_zone=row.time_zone,
        summary=(
            say("Appointment: %(doctor)s", doctor=say.shown(row.doctor_name))
            if is_own
            else say("Appointment %(number)s", number=str(row.appointment_id))
        ),
        location=", ".join(
            filter(None, (line_of(part or "") for part in (row.clinic_name, row.clinic_address, place)))
        ),
        description=say("Phone: %(phone)s", phone=phone) if phone else None,
        changed_at=row.updated_at,
    )


def invitation(
    row: AnyRow, say: Speaker, *, to_name: str, to_email: str, sender: str
) -> tuple[bytes, Literal["REQUEST", "CANCEL"]]:
    """The calendar part of the patient's mail, and its method: CANCEL exactly if the appointment is cancelled.

    `row` is one of appointment_details. `sender` is an address, with or without a name before it; the organizer bears
    the clinic's name, the attendee his own if it can be nothing but a name.
    """
    entry = replace(
        entry_of(row, say, is_own=True),
        organizer=(line_of(row.clinic_name), parseaddr(sender)[1]),
        attendee=(greetable(to_name), to_email),
    )
    method: Literal["REQUEST", "CANCEL"] = "CANCEL" if entry.status == "cancelled" else "REQUEST"
    return calendar([entry], method=method), method


def calendar(entries: Sequence[Entry], *, method: Method, name: str | None = None) -> bytes:
    """The iCalendar object of the entries in their order: the same entries give the same bytes.

    A `name` makes it a feed: it says how often to come again.
    """
    whole = Calendar()
    whole.add("VERSION", "2.0")
    whole.add("PRODID", PRODUCT)
    whole.add("CALSCALE", "GREGORIAN")
    whole.add("METHOD", method)
    if name is not None:
        whole.add("NAME", vText(name))
        whole.add("X-WR-CALNAME", vText(name))
        whole.add("REFRESH-INTERVAL", REFRESH, parameters={"VALUE": "DURATION"})
        whole.add("X-PUBLISHED-TTL", "PT1H")
    years: dict[str, list[int]] = {}
    for entry in entries:
        for time in _times(entry):
            if time.tzinfo is not UTC:
                years.setdefault(entry.time_zone, []).append(time.year)
    for zone, used in sorted(years.items()):
        whole.add_component(_time_zone(zone, min(used), max(used)))
    head, end, _ = whole.to_ical().rpartition(b"END:VCALENDAR")
    return bytes(b"".join([head, *map(_event, entries), end, b"\r\n"]))


# A doctor's feed is asked for every hour, and of its two thousand entries hardly any has changed.
@lru_cache(maxsize=4096)
def _event(entry: Entry) -> bytes:
    event = Event()
    event.add("UID", entry.uid)
    event.add("DTSTAMP", entry.changed_at.astimezone(UTC))
    event.add("LAST-MODIFIED", entry.changed_at.astimezone(UTC))
    event.add("SEQUENCE", entry.sequence)
    for name, time in zip(("DTSTART", "DTEND"), _times(entry), strict=True):
        if time.tzinfo is UTC:
            event.add(name, time)
        else:
            event.add(name, time.replace(tzinfo=None), parameters={"TZID": entry.time_zone})
    event.add("SUMMARY", entry.summary)
    if entry.location:
        event.add("LOCATION", entry.location)
    if entry.description:
        event.add("DESCRIPTION", entry.description)
    event.add("STATUS", _STATUS.get(entry.status, "CONFIRMED"))
    event.add("TRANSP", "TRANSPARENT" if entry.status == "cancelled" else "OPAQUE")
    event.add("CLASS", "PRIVATE")
    if entry.organizer:
        event.add("ORGANIZER", _person(*entry.organizer))
    if entry.attendee:
        taking_part = {"ROLE": "REQ-PARTICIPANT", "PARTSTAT": "ACCEPTED", "RSVP": "FALSE"}
        event.add("ATTENDEE", _person(*entry.attendee, **taking_part))
    written: bytes = event.to_ical()
    return written


def _person(name: str, address: str, **parameters: str) -> vCalAddress:
    person = vCalAddress("mailto:" + quote(address, safe=_MAILBOX))
    known_as = {"CN": name.replace('"', "'")} if name else {}
    person.params.update(known_as | parameters)
    return person


def _zone(name: str) -> ZoneInfo | None:
    """The zone; None for one that is written in UTC, or that this machine does not know."""
    try:
        return None if name in {"UTC", "Etc/UTC"} else ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name is a directory of zones, or cannot be a file's
        return None


def _times(entry: Entry) -> tuple[datetime, datetime]:
    """Start and end as they are written: both in the entry's zone, or both in UTC."""
    in_utc = entry.starts_at.astimezone(UTC), entry.ends_at.astimezone(UTC)
    zone = _zone(entry.time_zone)
    if zone is None:
        return in_utc
    in_zone = in_utc[0].astimezone(zone), in_utc[1].astimezone(zone)
    return in_zone if all(map(_is_plain, in_zone)) else in_utc


def _is_plain(time: datetime) -> bool:
    """Whether this wall time comes once only, at an offset that readers understand: one of whole minutes."""
    return time.utcoffset() == time.replace(fold=1 - time.fold).utcoffset() and not _offset(time) % _MINUTE


def _offset(time: datetime) -> timedelta:
    offset = time.utcoffset()
    assert offset is not None, "every wall time here has its zone"
    return offset


@lru_cache(maxsize=256)
def _time_zone(name: str, first_year: int, last_year: int) -> Timezone:
    """The VTIMEZONE, good from a day before the first year until a day after the last.

    Each change has an observance of its own: some readers know neither RDATE nor changes that no rule describes.
    """
    zone = ZoneInfo(name)
    start = datetime(first_year, 1, 1, tzinfo=UTC) - _DAY
    component = Timezone()
    component.add("TZID", name)
    component.add_component(_observance(start.astimezone(zone), start.astimezone(zone)))
    for before, after in _changes(zone, start, datetime(last_year + 1, 1, 1, tzinfo=UTC) + _DAY):
        component.add_component(_observance(before, after))
    return component


def _changes(zone: ZoneInfo, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Each change of the offset from `start` to `end`: the last second before it and the first one after it."""
    found = []
    while start < end:
        low, high = start, start + _DAY
        start = high
        if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
            continue
        while high - low > timedelta(seconds=1):
            middle = (low + (high - low) / 2).replace(microsecond=0)
            if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
                low = middle
            else:
                high = middle
        found.append((low.astimezone(zone), high.astimezone(zone)))
    return found


def _observance(before: datetime, after: datetime) -> Any:
    """The offset from `after` on; its start is written as the clock before the change would have shown it."""
    old, new = _offset(before), _offset(after)
    observance: Any = TimezoneDaylight() if after.dst() else TimezoneStandard()
    observance.add("DTSTART", (after.astimezone(UTC) + old).replace(tzinfo=None))
    observance.add("TZOFFSETFROM", old)
    observance.add("TZOFFSETTO", new)
    observance.add("TZNAME", after.tzname())
    return observance
