"""Mails, SMS and pushes: what people wrote stays text, and a phone in the dark can show it."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from health_services.languages.locales import LOCALES
from health_services.notifications.models import Kind
from health_services.notifications.rendering import TEMPLATES, push_payload, render, sms_text
from health_services.notifications.wording import Content, Visit, content_of

START = datetime(2026, 3, 1, 15, 5, tzinfo=UTC)
URL = "https://health.example.org/offers/7?token=abc&lang=en"
STOP = "https://health.example.org/unsubscribe/abc"
INJECTIONS = [
    "{{7*7}}",
    "{{ ().__class__.__mro__ }}",
    "{% if name %}x{% endif %}",
    "{# gone #}",
    "<b>bold</b>",
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</title></head>",
    "x--><!--x",
    "%(name)s %(x)s %s %% %d",
    "{0.__class__} {name}",
    "${HOME} &amp; &lt; &#0;",
    "<mj-raw></mj-raw>",
    "أحمد",
]
# Any text as people may have it in their names: printable, with single spaces between words.
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
NAMES = st.lists(NAMES, min_size=1, max_size=5).map(" ".join)
LINES = ("subject", "greeting", "short")
EVERYTHING = settings(max_examples=200, deadline=None, derandomize=True)


class Page(HTMLParser):
    """The elements of a page with the names of their attributes, its text, and what it links to or loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, ...]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.texts_in: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)
        self.texts_in.append((self.lasttag, data))

    def values(self, name: str, tag: str | None = None) -> set[str]:
        return {value for at, named, value in self.attributes if named == name and tag in {None, at}}


def content(
    locale="en",
    *,
    name="Ann",
    doctor="Asha Rao",
    clinic="City Health",
    phone="+1 212 555 0100",
    kind=Kind.WAITLIST_OFFER,
    **data,
):
    about = Visit(
        starts_at=START,
        ends_at=START + timedelta(minutes=30),
        time_zone="America/New_York",
        doctor_name=doctor,
        clinic_name=clinic,
        clinic_address="123 Main St, 10001 New York",
        clinic_phone=phone,
        clinic_email="info@example.org",
    )
    return content_of(kind, locale, name=name, visit=about, data={"url": URL} | data, unsubscribe_url=STOP)


def strings(of: Content) -> list[str]:
    facts = [text for fact in of.facts for text in fact]
    links = [text for link in (of.action, of.unsubscribe) if link for text in link]
    return [of.greeting, *of.paragraphs, *facts, *links, *of.closing, *of.footer]


def folded(text: str) -> str:
    """The text with single spaces, wherever lines end."""
    return " ".join(text.split())


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", Kind)
def test_both_bodies_say_all_of_it(kind, locale):
    said = content(locale, kind=kind, by="clinic")
    text, html = render(said)
    page = Page(html)
    shown = folded("".join(page.texts))
    for line in strings(said):
        assert folded(line) in folded(text)
        assert folded(line) in shown or line == STOP
    assert f"<title>{said.subject}</title>" in html
    assert STOP in page.values("href") or said.unsubscribe is None
    assert "{{" not in text + html
    assert "{%" not in text + html


def test_the_plain_text_is_wrapped_and_lists_the_facts():
    text, _ = render(content(doctor="A" * 90))
    assert "\nTime: 10:05 AM (Eastern Standard Time)\nDuration: 30 minutes\nWith: AAA" in text
    assert f"Accept the place:\n{URL}\n" in text
    assert all(len(line) <= 76 for line in text.splitlines() if "A" * 90 not in line)
    assert "\n\n\n" not in text
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)


@pytest.mark.parametrize("locale", LOCALES)
def test_a_page_is_written_in_the_direction_of_its_language(locale):
    _, html = render(content(locale))
    page = Page(html)
    direction, start = ("rtl", "right") if locale == "ar" else ("ltr", "left")
    assert page.values("lang", "html") == {locale}
    assert page.values("dir", "html") == {direction}
    assert page.values("align", "th") == page.values("align", "td") - {"center"} == {start}
    assert set(re.findall(r"direction:(\w+)", html)) == {direction}
    if locale == "ar":
        assert "text-align:left;color" not in html.replace(" ", "")


@pytest.mark.parametrize("locale", LOCALES)
def test_a_page_loads_nothing_and_can_be_read_on_a_phone(locale):
    _, html = render(content(locale))
    page = Page(html)
    assert not {element[0] for element in page.elements} & {"img", "link", "script", "iframe", "object", "video"}
    assert not page.values("src") | page.values("background")
    assert page.values("href") == {URL, STOP, "tel:+12125550100"}
    outside = {url for url in re.findall(r"https?://[^\s\"'<>)]+", html) if "health.example.org" not in url}
    assert outside == {"http://www.w3.org/1999/xhtml"}  # a name, which nothing loads
    assert not re.search(r"url\(|@import|@font-face", html)
    assert "width=device-width, initial-scale=1" in page.values("content", "meta")
    # Sizes of 0 and 1 pixel are those of what is not to be seen.
    assert min(size for size in map(int, re.findall(r"font-size:(\d+)px", html)) if size > 1) == 16
    assert "prefers-color-scheme: dark" in html
    assert "light dark" in page.values("content", "meta")


@pytest.mark.parametrize("locale", ["en", "ar"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_what_people_wrote_stays_text(injection, locale):
    said = content(locale, name=injection, doctor=injection, clinic=injection)
    text, html = render(said)
    plain = Page(render(content(locale))[1])
    page = Page(html)
    assert page.elements == plain.elements
    assert folded(" ".join(page.texts)).count(injection) == folded(text).count(injection) + 1  # the preview
    assert folded(text).count(injection) >= 3
    assert injection in said.short
    if "<" in injection:
        assert injection not in html


@EVERYTHING
@given(name=NAMES, clinic=NAMES, locale=st.sampled_from(LOCALES))
def test_any_name_is_shown_as_it_is(name, clinic, locale):
    said = content(locale, doctor=name, clinic=clinic)
    text, html = render(said)
    page = Page(html)
    assert page.elements == Page(render(content(locale))[1]).elements
    shown = folded(" ".join(page.texts))
    assert name in shown
    assert clinic in shown
    assert name in folded(text)
    assert clinic in folded(text)


@EVERYTHING
@given(name=st.text(), clinic=st.text(), locale=st.sampled_from(LOCALES), kind=st.sampled_from(list(Kind)))
def test_whatever_a_name_holds_the_message_can_be_sent(name, clinic, locale, kind):
    name, clinic = f"{name}\ud800\r\nBcc: x@example.org\u2028{name}", f"x{clinic}\x00\u202e\u2069\r\n\r\n{clinic}"
    said = content(locale, name=name, clinic=clinic, kind=kind)
    text, html = render(said)
    assert Page(html).elements == Page(render(content(locale, kind=kind))[1]).elements
    for line in [said.subject, said.short, *strings(said)]:
        assert len(line.splitlines()) == 1
    for body in (text, html, said.subject, sms_text(said)):
        body.encode()
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u2028\u202e]", body)
    assert json.loads(push_payload(said, tag="appointment:1"))["body"] == said.short


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", [Kind.APPOINTMENT_REMINDER, Kind.APPOINTMENT_CANCELLED])
def test_a_telephone_number_can_be_called_wherever_it_stands(kind, locale):
    said = content(locale, kind=kind, by="clinic")
    page = Page(render(said)[1])
    numbers = [text for tag, text in page.texts_in if tag == "a" and "555" in text]
    assert len(numbers) == 2
    assert {number.strip("\u2068\u2069") for number in numbers} == {"+1 212 555 0100"}
    assert (
        sorted(value for _, name, value in page.attributes if name == "href" and value != STOP)
        == ["tel:+12125550100"] * 2
    )
    outside = [text for tag, text in page.texts_in if tag != "a" and "555" in text]
    assert outside == []


@pytest.mark.parametrize(
    ("phone", "links"),
    [
        ("9876543210", {"tel:9876543210"}),
        ("+49 (30) 901-820", {"tel:+4930901820"}),
        ("+49 (0)30 901820", {"tel:+4930901820"}),
        ("(030) 90 18/20", {"tel:030901820"}),
        ("٠٣٠ ٩٠١٨٢٠", {"tel:030901820"}),
        ("112", {"tel:112"}),
        ("030 901820 ext. 5", set()),
        ("030 901820, 030 901821", set()),
        ("ask at the desk", set()),
        ('"><script>alert(1)</script>', set()),
        ("+", set()),
        ("-", set()),
        ("1", set()),
    ],
)
def test_only_what_is_one_number_is_linked(phone, links):
    page = Page(render(content(kind=Kind.APPOINTMENT_REMINDER, phone=phone))[1])
    assert page.values("href") - {STOP} == links
    assert phone in folded(" ".join(page.texts))


def test_no_program_makes_links_of_days_and_hours():
    page = Page(render(content())[1])
    assert "telephone=no, date=no, address=no, email=no" in page.values("content", "meta")


def test_nothing_in_a_text_mail_looks_like_a_signature():
    for locale in LOCALES:
        text, _ = render(content(locale))
        assert not [line for line in text.splitlines() if line.rstrip() == "--"]


def test_a_name_of_the_other_direction_does_not_turn_the_sentence():
    assert content("en", doctor="أحمد").paragraphs[0].startswith("A place with \u2068أحمد\u2069 has")
    assert content("en").paragraphs[0].startswith("A place with Asha Rao has")
    assert ("الهاتف", "\u2068+1 212 555 0100\u2069") in content("ar").facts


@pytest.mark.parametrize("locale", LOCALES)
def test_a_push_says_the_same_as_an_sms(locale):
    said = content(locale, kind=Kind.APPOINTMENT_REMINDER, doctor="𝔇" * 200, clinic='"\\' * 100)
    payload = push_payload(said, tag="appointment:12")
    assert len(payload) <= 3000
    assert json.loads(payload) == {
        "title": said.subject,
        "body": sms_text(said),
        "lang": locale,
        "dir": "rtl" if locale == "ar" else "ltr",
        "tag": "appointment:12",
    }


def test_a_push_that_nobody_would_take_is_refused():
    with pytest.raises(ValueError, match="too long"):
        push_payload(replace(content(), short="x" * 3000), tag="appointment:12")


def test_templates_hold_no_sentences():
    for file in TEMPLATES.iterdir():
        bare = re.sub(r"\{[{%#].*?[}%#]\}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        bare = re.sub(r"<mj-style>.*?</mj-style>|<[^>]*>", "", bare, flags=re.DOTALL)
        assert not re.search(r"\w", bare), file.name
