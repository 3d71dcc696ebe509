"""When reminders are due: before the visit, outside quiet hours unless the last hour forces it, and each once."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from health_services.notifications.models import Channel, Kind, State
from health_services.notifications.planning import (
    LAST_CALL,
    Contact,
    PlannedVisit,
    QuietHours,
    at_once,
    out_of_quiet,
    reminders,
    zone_of,
)

ZONES = (
    "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "UTC",
    "Pacific/Apia", "America/Sao_Paulo",
)  # fmt: skip
MINUTE = timedelta(minutes=1)

wall_times = st.integers(0, 24 * 60 - 1).map(lambda minute: time(minute // 60, minute % 60))
quiet_hours = st.tuples(wall_times, wall_times).filter(lambda pair: pair[0] != pair[1]).map(lambda p: QuietHours(*p))
instants = st.integers(0, 4 * 366 * 24 * 60).map(lambda minute: datetime(2025, 1, 1, tzinfo=UTC) + minute * MINUTE)


def contact(lead_minutes=(1440, 120), quiet=None, time_zone=None, channels=None, addresses=frozenset(Channel)):
    return Contact(7, addresses, channels or {}, tuple(lead_minutes), quiet, time_zone)


def visit(starts_at: datetime, time_zone: str = "UTC") -> PlannedVisit:
    return PlannedVisit(12, 0, starts_at, time_zone)


@settings(max_examples=1500, deadline=None)
@given(
    leads=st.lists(st.integers(5, 14 * 24 * 60), max_size=5),
    quiet=st.none() | quiet_hours,
    zone=st.sampled_from(ZONES),
    starts_at=instants,
    ahead=st.integers(-120, 20 * 24 * 60),
)
@example([120], QuietHours(time(21), time(8)), "America/New_York", datetime(2025, 11, 2, 12, 30, tzinfo=UTC), 3000)
@example([30], QuietHours(time(1, 30), time(2, 30)), "America/New_York", datetime(2025, 11, 2, 7, tzinfo=UTC), 3000)
def test_no_reminder_is_late_twice_or_wakes_anybody_for_nothing(leads, quiet, zone, starts_at, ahead):
    now = starts_at - ahead * MINUTE
    planned = reminders(contact(leads, quiet, zone), visit(starts_at), now)
    place = ZoneInfo(zone)
    for message in planned:
        assert message.lead_minutes is not None
        assert now < message.due_at < starts_at
        assert message.expires_at == starts_at
        if quiet and quiet.hold(message.due_at, place):
            # nobody is disturbed while the minute before, or the end before the last hour, would do
            assert quiet.eve_of(message.due_at, place) <= now
            assert quiet.end_after(message.due_at, place) > starts_at - LAST_CALL
            assert message.due_at >= starts_at - max(LAST_CALL, message.lead_minutes * MINUTE)
        if message.due_at != starts_at - message.lead_minutes * MINUTE:
            assert message.due_at <= starts_at - min(LAST_CALL, message.lead_minutes * MINUTE)
    assert len({message.due_at for message in planned}) == len(planned)
    assert len({message.dedupe_key for message in planned}) == len(planned)
    assert {message.lead_minutes for message in planned} <= set(leads)
    ahead_of_now = [lead for lead in leads if lead < ahead]
    assert bool(planned) == bool(ahead_of_now)


@settings(max_examples=1000, deadline=None)
@given(quiet=quiet_hours, zone=st.sampled_from(ZONES), at=instants)
def test_the_ends_of_quiet_hours_are_not_quiet_across_any_change_of_clocks(quiet, zone, at):
    place = ZoneInfo(zone)
    if not quiet.hold(at, place):
        return
    assert quiet.end_after(at, place) > at
    assert quiet.eve_of(at, place) < at
    # a day that a zone leaves out, or an hour that comes twice, may leave an end inside the next night
    if zone != "Pacific/Apia":
        assert not quiet.hold(quiet.end_after(at, place), place)


NIGHT = QuietHours(time(21), time(8))


@pytest.mark.parametrize(
    ("lead", "start", "booked", "due"),
    [
        # moved to the morning, since the visit is well after it
        (720, "2026-03-02T14:00", "2026-03-01T10:00", "2026-03-02T08:00"),
        # the morning is too close to the visit: the evening before
        (120, "2026-03-02T08:30", "2026-03-01T10:00", "2026-03-01T20:59"),
        # the evening had passed when the visit was booked: an hour before, whatever the hour
        (120, "2026-03-02T08:30", "2026-03-01T23:00", "2026-03-02T07:30"),
        # an hour before the visit is still allowed
        (120, "2026-03-02T09:00", "2026-03-01T10:00", "2026-03-02T08:00"),
        # by day nothing moves
        (120, "2026-03-02T15:00", "2026-03-01T10:00", "2026-03-02T13:00"),
    ],
)
def test_quiet_hours_in_examples(lead, start, booked, due):
    zone = ZoneInfo("Europe/London")
    begin, now, expected = (datetime.fromisoformat(text).replace(tzinfo=zone) for text in (start, booked, due))
    planned = reminders(contact([lead], NIGHT, "Europe/London"), visit(begin), now)
    assert [message.due_at for message in planned] == [expected]


def test_two_reminders_that_quiet_hours_bring_together_become_one():
    start = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
    planned = reminders(contact([120, 90], NIGHT), visit(start), start - timedelta(days=2))
    assert [(m.due_at, m.lead_minutes) for m in planned] == [(datetime(2026, 3, 1, 20, 59, tzinfo=UTC), 90)]


def test_the_clinics_zone_counts_where_the_person_named_none_and_utc_where_the_name_is_unknown():
    start = datetime(2026, 3, 2, 3, 30, tzinfo=UTC)  # 09:00 in India
    now = start - timedelta(days=2)
    in_india = reminders(contact([120], NIGHT), visit(start, "Asia/Kolkata"), now)
    assert [m.due_at.astimezone(ZoneInfo("Asia/Kolkata")).time() for m in in_india] == [time(8)]
    assert zone_of("Mars/Olympus", None).key == "UTC"


def test_each_person_is_told_on_the_first_channel_that_he_wants_and_has():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    start = now + timedelta(days=3)

    def told(**about):
        messages = at_once(Kind.APPOINTMENT_BOOKED, contact(**about), visit(start), now, {})
        return [(m.channel, m.state) for m in messages]

    assert told() == [(Channel.EMAIL, State.QUEUED)]
    assert told(addresses=frozenset({Channel.SMS, Channel.PUSH})) == [(Channel.SMS, State.QUEUED)]
    assert told(channels={"appointment_booked": ["push", "sms"]}) == [(Channel.PUSH, State.QUEUED)]
    assert told(channels={"appointment_booked": []}) == []
    # nobody is forgotten: who has no address is on the call list at once
    assert told(addresses=frozenset()) == [(Channel.EMAIL, State.FAILED)]
    silent = contact(channels={"security_notice": ["sms"]})
    assert silent.wanted(Kind.SECURITY_NOTICE)[0] is Channel.EMAIL


def test_the_next_channel_is_the_next_one_that_the_person_wants_and_has():
    everywhere = contact(channels={"appointment_booked": ["sms", "push", "email"]})
    assert everywhere.usable(Kind.APPOINTMENT_BOOKED, after=Channel.SMS) == [Channel.PUSH, Channel.EMAIL]
    assert everywhere.usable(Kind.APPOINTMENT_BOOKED, after=Channel.EMAIL) == [Channel.SMS, Channel.PUSH]
    # who changed his mind in between is told on what he wants now
    email_only = contact(channels={"appointment_booked": ["email"]})
    assert email_only.usable(Kind.APPOINTMENT_BOOKED, after=Channel.SMS) == [Channel.EMAIL]


def test_a_reminder_that_is_late_waits_for_the_morning_but_not_beyond_the_last_call():
    zone = ZoneInfo("UTC")
    now = datetime(2026, 3, 1, 23, tzinfo=UTC)
    at = out_of_quiet(now, datetime(2026, 3, 2, 12, tzinfo=UTC), NIGHT, zone, now)
    assert at == datetime(2026, 3, 2, 8, tzinfo=UTC)
    at = out_of_quiet(now, datetime(2026, 3, 2, 8, 30, tzinfo=UTC), NIGHT, zone, now)
    assert at == datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
