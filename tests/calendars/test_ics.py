"""What stands in an iCalendar object, and what no text can put there."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from health_services.calendars import ics
from health_services.languages.locales import LOCALES
from health_services.languages.speaking import Speaker
from tests.calendars.entries import START, entry, row
from tests.calendars.readers import Read, by_ical_js, by_icalendar

PLAIN = {
    "class", "description", "dtend", "dtstamp", "dtstart", "last-modified", "location", "sequence", "status", "summary",
    "transp", "uid",
}  # fmt: skip
ENGLISH = Speaker("en")
# How each language calls an appointment, another one by its number, and a telephone.
WORDS = {
    "en": ("Appointment: Grace Okafor", "Appointment 7", "Phone: 9876543210"),
    "de": ("Termin: Grace Okafor", "Termin 7", "Telefon: 9876543210"),
    "es": ("Cita: Grace Okafor", "Cita 7", "Teléfono: 9876543210"),
    "fr": ("Rendez-vous : Grace Okafor", "Rendez-vous 7", "Téléphone : 9876543210"),
    "pt": ("Consulta: Grace Okafor", "Consulta 7", "Telefone: 9876543210"),
    "hi": ("अपॉइंटमेंट: Grace Okafor", "अपॉइंटमेंट 7", "फ़ोन: 9876543210"),
    "ar": ("موعد: \u2068Grace Okafor\u2069", "موعد 7", "الهاتف: \u20689876543210\u2069"),
}
# What somebody writes into a name to be more than a name, and what is left of it.
HOSTILE = {
    "A\r\nATTENDEE:mailto:x@example.org": "A ATTENDEE:mailto:x@example.org",
    "A\nEND:VEVENT\nBEGIN:VEVENT": "A END:VEVENT BEGIN:VEVENT",
    "A\rATTACH:file:///etc/passwd": "A ATTACH:file:///etc/passwd",
    "A\u2028URL:http://example.org\u2029B": "A URL:http://example.org B",
    "a;b,c:d": "a;b,c:d",
    "back\\slash\\n\\;\\,": "back\\slash\\n\\;\\,",
    'quo"ted^name^n': 'quo"ted^name^n',
    "nul\x00bell\x07escape\x1bnext\x85line\x0bfeed\x0c": "nulbellescapenext line feed",
    "\u202egpj.exe\u202c\u2066x\u2069\u200f": "gpj.exex",
    "日本語のクリニック" * 20: "日本語のクリニック" * 20,
    "\U0001f600" * 60: "\U0001f600" * 60,
    "עברית, and \u0639\u0631\u0628\u064a": "עברית, and \u0639\u0631\u0628\u064a",
    "a\u0308\u200d\U0001f469\u200d\U0001f52c": "a\u0308\u200d\U0001f469\u200d\U0001f52c",
    "ends with\\": "ends with\\",
}


def by_both(content: bytes) -> list[Read]:
    """What both readers find, which is the same."""
    found = by_icalendar(content)
    assert by_ical_js({"it": content})["it"] == found
    return found


def lines(content: bytes) -> list[str]:
    """The content lines, unfolded."""
    return content.decode().replace("\r\n ", "").split("\r\n")


def published(*entries: ics.Entry, name: str | None = None) -> bytes:
    return ics.calendar(entries, method="PUBLISH", name=name)


def test_an_appointment_for_its_patient():
    (read,) = by_both(published(ics.entry_of(row(revision=3), ENGLISH, is_own=True)))
    assert set(read.properties) == PLAIN
    assert (read.uid, read.sequence, read.status) == ("appointment-7@tests", 3, "CONFIRMED")
    assert read.summary == "Appointment: Grace Okafor"
    assert read.location == "City Health Center, 123 Main St, 10001 New York"
    assert read.description == "Phone: 9876543210"
    assert (read.starts_at, read.ends_at) == (START, START + timedelta(minutes=30))


@pytest.mark.parametrize("locale", LOCALES)
def test_it_is_said_in_the_readers_language(locale: str):
    own, others = [ics.entry_of(row(), Speaker(locale), is_own=is_own) for is_own in (True, False)]
    (read_own,), (read_others,) = by_both(published(own)), by_both(published(others))
    assert (read_own.summary, read_others.summary, read_own.description) == WORDS[locale]
    assert read_others.description == read_own.description
    assert read_own.location == read_others.location == "City Health Center, 123 Main St, 10001 New York"
    asked, _ = ics.invitation(row(), Speaker(locale), to_name="A", to_email="a@example.org", sender="c@d.org")
    (invited,) = by_both(asked)
    assert (invited.summary, invited.description) == (read_own.summary, read_own.description)


def test_an_appointment_for_everybody_else_names_no_person():
    content = published(ics.entry_of(row(), ENGLISH, is_own=False))
    assert by_both(content)[0].summary == "Appointment 7"
    assert b"Okafor" not in content


def test_what_is_not_known_of_a_clinic_is_left_out():
    nothing = {"clinic_address": None, "clinic_zip_code": None, "clinic_city": " ", "clinic_phone": " "}
    (read,) = by_both(published(ics.entry_of(row(**nothing), ENGLISH, is_own=True)))
    assert (read.location, read.description) == ("City Health Center", None)


@pytest.mark.parametrize(("status", "shown", "is_busy"), [
    ("pending", "TENTATIVE", True), ("confirmed", "CONFIRMED", True), ("completed", "CONFIRMED", True),
    ("no_show", "CONFIRMED", True), ("cancelled", "CANCELLED", False),
])  # fmt: skip
def test_the_status(status: str, shown: str, is_busy: bool):
    content = published(ics.entry_of(row(status=status), ENGLISH, is_own=True))
    assert by_both(content)[0].status == shown
    assert f"TRANSP:{'OPAQUE' if is_busy else 'TRANSPARENT'}" in lines(content)
    assert "CLASS:PRIVATE" in lines(content)


def test_what_was_entered_in_error_is_shown_as_cancelled():
    (read,) = by_both(published(ics.entry_of(row(status="completed", is_active=False), ENGLISH, is_own=True)))
    assert read.status == "CANCELLED"


def test_the_frame_of_a_file_and_of_a_feed():
    file, feed = lines(published(entry())), lines(published(entry(), name="My, own"))
    frame = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//health-services//calendar//EN", "CALSCALE:GREGORIAN",
             "METHOD:PUBLISH"]  # fmt: skip
    assert file[:6] == [*frame, "BEGIN:VEVENT"]
    assert feed[:9] == [*frame, "NAME:My\\, own", "X-WR-CALNAME:My\\, own", "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
                        "X-PUBLISHED-TTL:PT1H"]  # fmt: skip
    for whole in (file, feed):
        assert whole[-3:] == ["END:VEVENT", "END:VCALENDAR", ""]
        assert "DTSTAMP:20310101T000000Z" in whole
        assert "LAST-MODIFIED:20310101T000000Z" in whole


def test_a_feed_without_entries_can_be_read():
    assert by_both(published(name="Appointments")) == []


def test_the_order_is_kept_and_the_same_entries_give_the_same_bytes():
    entries = [entry(START + timedelta(hours=hours), time_zone="Europe/London") for hours in (2, 0, 1)]
    content = published(*entries)
    assert [read.uid for read in by_both(content)] == [one.uid for one in entries]
    assert published(*entries) == content
    assert published(*map(replace, entries)) == content
    assert published(*entries[:2], replace(entries[2], sequence=1)) != content


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_text_is_only_a_text(text: str):
    asked = {"doctor_name": text, "clinic_name": text, "clinic_address": text, "clinic_phone": text}
    content, method = ics.invitation(
        row(**asked, clinic_city=None, clinic_zip_code=None),
        ENGLISH,
        to_name=text,
        to_email="a@example.org",
        sender="c@d.org",
    )
    assert method == "REQUEST"
    left = HOSTILE[text]
    (read,) = by_both(content)
    assert set(read.properties) == PLAIN | {"organizer", "attendee"}
    isolated = f"\u2068{left}\u2069" if "\u05e2" in left else left
    assert read.summary == f"Appointment: {isolated}"
    assert read.location == f"{left}, {left}"
    assert read.description == f"Phone: {isolated}"
    assert (read.organizer, read.attendees) == ("mailto:c@d.org", ("mailto:a@example.org",))
    assert common_name(content) == left.replace('"', "'")
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", content)


def common_name(content: bytes) -> str:
    """The organizer's name, without the escapes of RFC 6868."""
    (line,) = [line for line in lines(content) if line.startswith("ORGANIZER;CN=")]
    written = line.removeprefix("ORGANIZER;CN=").removesuffix(":mailto:c@d.org").strip('"')
    return re.sub(r"\^(.)", lambda match: {"n": "\n", "'": '"'}.get(match[1], match[1]), written)


@pytest.mark.parametrize("name", ["Win: www.evil.example", "Call 0900 1234", "Ada\u202e <x@example.org>", "x" * 61, ""])
def test_a_text_that_somebody_gave_as_a_name_is_not_carried_to_others(name: str):
    content, _ = ics.invitation(row(), ENGLISH, to_name=name, to_email="a@example.org", sender="c@d.org")
    (attendee,) = [line for line in lines(content) if line.startswith("ATTENDEE")]
    assert attendee == "ATTENDEE;PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT;RSVP=FALSE:mailto:a@example.org"
    assert by_both(content)[0].attendees == ("mailto:a@example.org",)


@pytest.mark.parametrize("address", [
    "a@example.org\r\nATTENDEE:mailto:x@example.org", "a@example.org?cc=x@example.org", "a%0d%0ab@example.org",
    'a"b@example.org', "a;b@example.org", "a:b@example.org", "a,b@example.org",
])  # fmt: skip
def test_an_address_is_only_an_address(address: str):
    content, _ = ics.invitation(row(), ENGLISH, to_name="A", to_email=address, sender="c@d.org")
    (read,) = by_both(content)
    assert set(read.properties) == PLAIN | {"organizer", "attendee"}
    assert len(read.attendees) == 1
    assert re.fullmatch(r"mailto:[A-Za-z0-9.%@=]+", read.attendees[0])


def test_an_invitation_and_its_withdrawal():
    sent = {"to_name": "Ada Wong", "to_email": "ada+home@example.org", "sender": "Clinics <no-reply@example.org>"}
    asked, method = ics.invitation(row(revision=1), ENGLISH, **sent)
    ended, end = ics.invitation(row(revision=2, status="cancelled"), ENGLISH, **sent)
    assert (method, end) == ("REQUEST", "CANCEL")
    assert "METHOD:REQUEST" in lines(asked)
    assert "METHOD:CANCEL" in lines(ended)
    (before,), (after,) = by_both(asked), by_both(ended)
    assert (before.uid, before.sequence, before.status) == ("appointment-7@tests", 1, "CONFIRMED")
    assert (after.uid, after.sequence, after.status) == ("appointment-7@tests", 2, "CANCELLED")
    for content in (asked, ended):
        assert 'ORGANIZER;CN="City Health Center":mailto:no-reply@example.org' in lines(content)
        attendee = (
            'ATTENDEE;CN="Ada Wong";PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT;RSVP=FALSE:mailto:ada+home@example.org'
        )
        assert attendee in lines(content)
        assert lines(content).count("BEGIN:VEVENT") == 1
        assert "REFRESH-INTERVAL" not in content.decode()


@pytest.mark.parametrize("status", ["pending", "confirmed", "completed", "no_show"])
def test_only_a_cancelled_appointment_is_withdrawn(status: str):
    content, method = ics.invitation(
        row(status=status), ENGLISH, to_name="A", to_email="a@example.org", sender="c@d.org"
    )
    assert method == "REQUEST"
    assert "METHOD:REQUEST" in lines(content)
