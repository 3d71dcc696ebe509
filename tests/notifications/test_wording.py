"""What messages say: in every language, at the clinic's wall time, and never more than they may."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from health_services.languages.locales import LOCALES
from health_services.notifications.models import SECURITY_KINDS, Kind
from health_services.notifications.wording import Content, Visit, content_of

START = datetime(2026, 3, 1, 15, 5, tzinfo=UTC)
URL = "https://health.example.org/confirm?token=abc"
DATA = {"url": URL, "expires_at": "2026-03-01T12:00:00+00:00"}
# What each language calls the time of New York in September.
ZONES = {
    "en": "Eastern Daylight Time",
    "de": "Nordamerikanische Ostküsten-Sommerzeit",
    "es": "hora de verano oriental",
    "fr": "heure d’été de l’Est nord-américain",
    "pt": "Horário de Verão do Leste",
    "hi": "उत्तरी अमेरिकी पूर्वी डेलाइट समय",
    "ar": "التوقيت الصيفي الشرقي لأمريكا الشمالية",
}
VISIT_KINDS = [kind for kind in Kind if kind not in SECURITY_KINDS]


def visit(starts_at=START, time_zone="America/New_York", **changes) -> Visit:
    values = {
        "doctor_name": "Asha Rao",
        "clinic_name": "City Health Center",
        "clinic_address": "123 Main St, 10001 New York",
        "clinic_phone": "+1 212 555 0100",
        "clinic_email": "info@example.org",
    }
    return Visit(starts_at, starts_at + timedelta(minutes=30), time_zone, **values | changes)


def said(kind: Kind, locale: str = "en", of: Visit | None = None, **data) -> Content:
    if kind not in SECURITY_KINDS:
        of = of or visit()
    return content_of(kind, locale, name="Ann", visit=of, data=DATA | data)


def lines(content: Content) -> list[str]:
    facts = [text for fact in content.facts for text in fact]
    links = [content.action[0]] if content.action else []
    return [content.subject, content.greeting, *content.paragraphs, *facts, *links, *content.closing, content.short]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_speaks_every_language(kind, locale):
    content = said(kind, locale, by="clinic")
    assert content.locale == locale
    assert content.is_right_to_left == (locale == "ar")
    for text in lines(content):
        assert text == text.strip() != ""
        assert len(text.splitlines()) == 1
        assert "%(" not in text
    if locale != "en":
        assert not set(said(kind, by="clinic").paragraphs) & set(content.paragraphs)


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", VISIT_KINDS)
def test_a_message_about_an_appointment_tells_when_where_and_with_whom(kind, locale):
    content = said(kind, locale, of=visit(datetime(2026, 9, 23, 14, 7, tzinfo=UTC)))
    clock = re.compile(r"\b10:07\b")
    assert clock.search(content.subject)
    assert "23" in content.subject
    assert content.subject.endswith(f"({ZONES[locale]})")
    assert clock.search(" ".join(content.paragraphs))
    assert clock.search(content.short)
    assert "2026" in content.short
    for name in ("Asha Rao", "City Health Center"):
        assert any(name in value for _, value in content.facts)
        assert name in content.short
        assert name not in content.subject


DAYS_WHEN_CLOCKS_CHANGE = [
    ("America/New_York", "2026-03-08T06:59", "Sunday, March 8, 2026 at 1:59 AM (Eastern Standard Time)"),
    ("America/New_York", "2026-03-08T07:00", "Sunday, March 8, 2026 at 3:00 AM (Eastern Daylight Time)"),
    ("America/New_York", "2026-03-09T13:00", "Monday, March 9, 2026 at 9:00 AM (Eastern Daylight Time)"),
    ("America/New_York", "2026-11-01T05:30", "Sunday, November 1, 2026 at 1:30 AM (Eastern Daylight Time)"),
    ("America/New_York", "2026-11-01T06:30", "Sunday, November 1, 2026 at 1:30 AM (Eastern Standard Time)"),
    ("America/New_York", "2026-03-02T04:59", "Sunday, March 1, 2026 at 11:59 PM (Eastern Standard Time)"),
    ("Europe/London", "2026-03-29T00:59", "Sunday, March 29, 2026 at 12:59 AM (Greenwich Mean Time)"),
    ("Europe/London", "2026-03-29T01:00", "Sunday, March 29, 2026 at 2:00 AM (British Summer Time)"),
    ("Europe/London", "2026-10-25T00:30", "Sunday, October 25, 2026 at 1:30 AM (British Summer Time)"),
    ("Europe/London", "2026-10-25T01:30", "Sunday, October 25, 2026 at 1:30 AM (Greenwich Mean Time)"),
    ("Europe/Dublin", "2026-01-15T12:00", "Thursday, January 15, 2026 at 12:00 PM (Greenwich Mean Time)"),
    ("Europe/Dublin", "2026-07-15T12:00", "Wednesday, July 15, 2026 at 1:00 PM (Irish Standard Time)"),
    ("Australia/Lord_Howe", "2026-04-04T14:45", "Sunday, April 5, 2026 at 1:45 AM (Lord Howe Daylight Time)"),
    ("Australia/Lord_Howe", "2026-04-04T15:15", "Sunday, April 5, 2026 at 1:45 AM (Lord Howe Standard Time)"),
    ("Australia/Lord_Howe", "2026-10-03T15:29", "Sunday, October 4, 2026 at 1:59 AM (Lord Howe Standard Time)"),
    ("Australia/Lord_Howe", "2026-10-03T15:30", "Sunday, October 4, 2026 at 2:30 AM (Lord Howe Daylight Time)"),
    ("Asia/Kolkata", "2026-03-08T03:30", "Sunday, March 8, 2026 at 9:00 AM (India Standard Time)"),
    ("Africa/Casablanca", "2026-03-01T09:00", "Sunday, March 1, 2026 at 9:00 AM (Morocco Time)"),
    ("Africa/Casablanca", "2026-04-01T09:00", "Wednesday, April 1, 2026 at 10:00 AM (Morocco Time)"),
    ("Etc/GMT+5", "2026-03-01T09:00", "Sunday, March 1, 2026 at 4:00 AM (Etc/GMT+5)"),
]


@pytest.mark.parametrize(("zone", "instant", "words"), DAYS_WHEN_CLOCKS_CHANGE)
def test_times_are_those_of_the_clinics_clock(zone, instant, words):
    about = visit(datetime.fromisoformat(instant).replace(tzinfo=UTC), zone)
    content = said(Kind.APPOINTMENT_BOOKED, of=about)
    assert content.paragraphs[0] == f"Your appointment is booked for {words}."
    assert words in content.short


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("de", "Sonntag, 1. März 2026 um 16:05 Uhr (Mitteleuropäische Normalzeit)"),
        ("es", "domingo, 1 de marzo de 2026, a las 16:05 (hora estándar de Europa central)"),
        ("fr", "dimanche 1 mars 2026 à 16:05 (heure normale d’Europe centrale)"),
        ("pt", "domingo, 1 de março de 2026, às 16:05 (Horário Padrão da Europa Central)"),
        ("hi", "रविवार, 1 मार्च 2026, 4:05 pm (मध्य यूरोपीय मानक समय)"),
        ("ar", "الأحد، 1 مارس 2026 الساعة 4:05 م (توقيت وسط أوروبا الرسمي)"),
    ],
)
def test_day_hour_and_zone_are_said_in_the_readers_language(locale, words):
    content = said(Kind.APPOINTMENT_REMINDER, locale, of=visit(time_zone="Europe/Berlin"))
    assert words in content.paragraphs[0]
    assert words in content.short


def test_one_instant_is_told_in_two_zones():
    told = [
        dict(said(Kind.APPOINTMENT_BOOKED, of=visit(START.astimezone(ZoneInfo(zone)), zone)).facts)["Time"]
        for zone in ("Europe/Berlin", "America/New_York")
    ]
    assert told == ["4:05 PM (Central European Standard Time)", "10:05 AM (Eastern Standard Time)"]


def test_the_hour_that_clocks_skip_is_not_counted():
    here = ZoneInfo("America/New_York")
    about = Visit(
        datetime(2026, 3, 8, 1, 45, tzinfo=here), datetime(2026, 3, 8, 3, 15, tzinfo=here), "America/New_York", "D", "C"
    )
    facts = dict(said(Kind.APPOINTMENT_BOOKED, of=about).facts)
    assert facts["Duration"] == "30 minutes"
    assert facts["Time"] == "1:45 AM (Eastern Standard Time)"


def test_who_cancelled_is_told():
    told = {by: said(Kind.APPOINTMENT_CANCELLED, by=by) for by in ("patient", "clinic", "system", None)}
    when = "on Sunday, March 1, 2026 at 10:05 AM (Eastern Standard Time)"
    assert told["patient"].paragraphs == (f"Your appointment {when} is cancelled, as you asked.",)
    assert told["clinic"].paragraphs == (
        f"The clinic has cancelled your appointment {when}. We are sorry for the trouble.",
        "Please call +1 212 555 0100 to find another time.",
    )
    assert told["clinic"].short.endswith("Please call +1 212 555 0100 to find another time.")
    assert told["system"].paragraphs == (f"Your appointment {when} is cancelled.",)
    assert told[None] == told["system"]


def test_a_clinic_without_a_telephone_is_not_called():
    about = visit(clinic_phone=None, clinic_email=None, clinic_address=None)
    cancelled = said(Kind.APPOINTMENT_CANCELLED, of=about, by="clinic")
    assert cancelled.paragraphs[1] == "Please contact the clinic to find another time."
    reminder = said(Kind.APPOINTMENT_REMINDER, of=about)
    assert reminder.paragraphs[1] == "You cannot come? Please cancel in good time."
    assert [label for label, _ in reminder.facts] == ["Date", "Time", "Duration", "With", "Where"]


def test_an_offer_tells_until_when_and_links_only_where_it_can():
    offer = said(Kind.WAITLIST_OFFER)
    assert offer.action == ("Accept the place", URL)
    assert offer.paragraphs[-1] == ("The offer is open until Sunday, March 1, 2026 at 7:00 AM (Eastern Standard Time).")
    assert offer.short.endswith("The offer is open until Sun, Mar 1, 2026, 7:00 AM.")
    bare = content_of(Kind.WAITLIST_OFFER, "en", name="Ann", visit=visit(), data={})
    assert bare.action is None
    assert bare.paragraphs[-1] == "If you would like to have it, please contact the clinic."
    unknown = content_of(Kind.WAITLIST_OFFER, "en", name="Ann", visit=None, data=DATA)
    assert unknown.facts == ()
    assert unknown.short.endswith("until Sunday, March 1, 2026 at 12:00 PM (Coordinated Universal Time).")


def test_a_security_notice_tells_what_it_can():
    known = said(Kind.SECURITY_NOTICE, about="webhook_disabled", host="hooks.example.org")
    assert "hooks.example.org" in known.paragraphs[0]
    assert "hooks.example.org" in known.short
    for data in ({"about": "something_new"}, {"about": "webhook_disabled"}, {}):
        unknown = content_of(Kind.SECURITY_NOTICE, "en", name="Ann", visit=None, data=data)
        assert unknown.subject == "A notice about the security of your account"
        assert unknown.paragraphs[0] == "Something about the security of your account has changed."


@pytest.mark.parametrize("kind", Kind)
def test_only_what_can_be_switched_off_says_how(kind):
    stop = "https://health.example.org/unsubscribe/abc"
    content = content_of(kind, "en", name="Ann", visit=visit(), data=DATA, unsubscribe_url=stop)
    expected = None if kind in SECURITY_KINDS else ("No longer receive messages of this kind", stop)
    assert content.unsubscribe == expected
    assert said(kind).unsubscribe is None


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("text", ["You have won: www.evil.example", "pay@evil.example", "Call 0900 1234", "x" * 61])
def test_a_text_that_somebody_gave_as_a_name_is_not_carried_to_others(kind, text):
    content = content_of(kind, "en", name=text, visit=visit(), data=DATA)
    assert content.greeting == "Hello,"
    assert not [line for line in lines(content) if text in line]


@pytest.mark.parametrize("kind", Kind)
def test_mail_that_anybody_can_trigger_carries_nobodys_text(kind):
    is_open_to_anybody = kind in {Kind.EMAIL_VERIFICATION, Kind.PASSWORD_RESET}
    assert said(kind).greeting == ("Hello," if is_open_to_anybody else "Hello Ann,")


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", Kind)
def test_what_goes_by_sms_is_short_and_has_no_links(kind, locale):
    longest = visit(
        datetime(2026, 9, 23, 15, 5, tzinfo=UTC),
        "Indian/Kerguelen",
        doctor_name="D" * 200,
        clinic_name="C" * 200,
        clinic_phone="1" * 32,
    )
    for by in ("patient", "clinic", None):
        short = said(kind, locale, of=longest, by=by, about="webhook_disabled", host="h" * 253).short
        assert 20 < len(short) <= 300
        assert "http" not in short
        assert "\u00a0" not in short
        assert kind in SECURITY_KINDS or "D" * 29 + "..." in short


@pytest.mark.parametrize("kind", [k for k in VISIT_KINDS if k is not Kind.WAITLIST_OFFER])
def test_an_appointments_message_needs_the_appointment(kind):
    with pytest.raises(ValueError, match="needs its visit"):
        content_of(kind, "en", name="Ann", visit=None, data={})


@pytest.mark.parametrize("url", [None, "", 7, "javascript:alert(1)", "//example.org", "https://a b", "https://a\n"])
@pytest.mark.parametrize("kind", [Kind.EMAIL_VERIFICATION, Kind.PASSWORD_RESET])
def test_a_link_is_one_of_the_web(kind, url):
    with pytest.raises(ValueError, match="needs a URL"):
        content_of(kind, "en", name="Ann", visit=None, data={"url": url})


def test_an_instant_without_an_offset_is_nobodys_time():
    with pytest.raises(ValueError, match="needs its offset"):
        said(Kind.WAITLIST_OFFER, expires_at="2026-03-01T12:00:00")
