"""The instants that other people's calendars show, above all on the days when clocks are changed."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from itertools import chain
from zoneinfo import ZoneInfo

import pytest

from health_services.calendars import ics
from tests.calendars.entries import entry
from tests.calendars.readers import by_ical_js, by_icalendar

# First instants of another offset. They lie in the past, where no government can change them any more.
CHANGES = {
    "America/New_York": ("2025-03-09T07:00Z", "2025-11-02T06:00Z"),
    "Europe/London": ("2025-03-30T01:00Z", "2025-10-26T01:00Z"),
    "Australia/Lord_Howe": ("2025-04-05T15:00Z", "2025-10-04T15:30Z"),
    "Africa/Casablanca": ("2025-02-23T02:00Z", "2025-04-06T02:00Z"),
    # summer time is called the standard one; two hours at once; four changes in a year; a day that never was
    "Europe/Dublin": ("2025-03-30T01:00Z", "2025-10-26T01:00Z"),
    "Antarctica/Troll": ("2025-03-30T01:00Z", "2025-10-26T01:00Z"),
    "Africa/Cairo": ("2010-04-29T22:00Z", "2010-08-10T21:00Z", "2010-09-09T22:00Z", "2010-09-30T21:00Z"),
    "Pacific/Apia": ("2011-12-30T10:00Z",),
}
UNCHANGING = "Asia/Kolkata"
HALF_HOUR = timedelta(minutes=30)


def instants_around(change: datetime, zone: ZoneInfo) -> list[datetime]:
    """Every half hour of the night, and the opening hours of that day, the day before and the day after."""
    day = change.astimezone(zone).date()
    opening = [
        datetime.combine(day + timedelta(days=days), time(hour), zone).astimezone(UTC)
        for days in (-1, 0, 1)
        for hour in range(9, 18)
    ]
    return sorted({change + HALF_HOUR * steps for steps in range(-9, 10)} | set(opening))


def feed(zone: str, starts: Iterable[datetime]) -> bytes:
    return ics.calendar([entry(start, time_zone=zone) for start in starts], method="PUBLISH")


def cases() -> dict[str, list[datetime]]:
    """Each zone with its instants."""
    around = {
        zone: [instants_around(datetime.fromisoformat(change), ZoneInfo(zone)) for change in changes]
        for zone, changes in CHANGES.items()
    }
    around[UNCHANGING] = around["America/New_York"]
    return {zone: sorted(set(chain(*starts))) for zone, starts in around.items()}


@pytest.mark.parametrize("zone", CHANGES)
def test_the_table_of_changes_is_right(zone: str):
    for change in map(datetime.fromisoformat, CHANGES[zone]):
        before = (change - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
        assert before.utcoffset() != change.astimezone(ZoneInfo(zone)).utcoffset()


def test_two_readers_see_the_same_entries_at_the_same_instants():
    contents = {zone: feed(zone, starts) for zone, starts in cases().items()}
    in_javascript = by_ical_js(contents)
    for zone, starts in cases().items():
        expected = [(entry(start).uid, start, start + HALF_HOUR) for start in starts]
        for found in (in_javascript[zone], by_icalendar(contents[zone])):
            assert [(read.uid, read.starts_at, read.ends_at) for read in found] == expected, zone


def test_a_reader_that_knows_no_zones_learns_them_from_the_calendar():
    for zone, starts in cases().items():
        content = feed(zone, starts).replace(zone.encode(), b"Of-tests/" + zone.encode())
        assert b"TZID=Of-tests/" in content
        assert [read.starts_at for read in by_icalendar(content)] == starts, zone


def test_wall_times_are_written_where_they_say_which_instant():
    first, second = (datetime.fromisoformat(f"2025-11-02T0{hour}:30Z") for hour in (5, 6))
    nine, in_the_gap = (datetime.fromisoformat(f"2025-{text}Z") for text in ("03-09T13:00", "03-09T07:00"))
    content = feed("America/New_York", [nine, in_the_gap, first, second, second + timedelta(hours=1)]).decode()
    begins = [line.removeprefix("DTSTART") for line in content.splitlines() if line.startswith("DTSTART")]
    assert begins[-5:] == [
        ";TZID=America/New_York:20250309T090000",
        ";TZID=America/New_York:20250309T030000",
        ":20251102T053000Z",  # 01:30 comes twice this day
        ":20251102T063000Z",
        ";TZID=America/New_York:20251102T023000",
    ]


def test_an_entry_that_ends_in_the_repeated_hour_is_written_in_utc_altogether():
    start = datetime.fromisoformat("2025-11-02T04:30Z")
    content = feed("America/New_York", [start])
    assert b"DTSTART:20251102T043000Z\r\nDTEND:20251102T050000Z\r\n" in content
    assert b"TZID" not in content


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "Mars/Olympus_Mons", "America", "../../etc/passwd", "", "a\x00b"])
def test_a_zone_that_nobody_knows_is_no_reason_to_fail(zone: str):
    start = datetime.fromisoformat("2025-07-01T08:00Z")
    content = feed(zone, [start])
    assert b"DTSTART:20250701T080000Z\r\nDTEND:20250701T083000Z\r\n" in content
    assert b"TZID" not in content
    assert b"VTIMEZONE" not in content


def test_offsets_with_seconds_are_written_in_utc():
    start = datetime(1901, 1, 1, 9, tzinfo=UTC)
    assert b"DTSTART:19010101T090000Z" in feed("Europe/Amsterdam", [start])


def test_a_zone_is_described_for_the_years_of_its_entries_and_once():
    starts = [datetime.fromisoformat(f"{year}-07-01T08:00Z") for year in (2030, 2031, 2031)]
    content = feed("Europe/London", starts).decode()
    assert content.count("BEGIN:VTIMEZONE\r\nTZID:Europe/London\r\n") == content.count("TZID:Europe/London\r\n") == 1
    assert content.count("TZOFFSETFROM") == 5, "how it was before, and two changes in each of two years"
    assert content.index("END:VTIMEZONE") < content.index("BEGIN:VEVENT")


def test_the_last_and_first_hours_of_a_year_have_their_zone():
    zones = ("Pacific/Kiritimati", "Pacific/Niue", "Australia/Lord_Howe", "America/New_York")
    starts = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours) for hours in range(-30, 31)]
    contents = {f"{zone} {start}": feed(zone, [start]) for zone in zones for start in starts}
    found = by_ical_js(contents)
    assert [found[f"{zone} {start}"][0].starts_at for zone in zones for start in starts] == starts * len(zones)
