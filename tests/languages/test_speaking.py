"""What people wrote, put into our sentences: it stays in its place, and a name is greeted only if it is one."""

import pytest

from health_services.languages.locales import LOCALES
from health_services.languages.speaking import Speaker, greetable, line_of

NAMES = [
    "Ann", "Dr. Jane Q. Public", "J.R.R. Tolkien", "H.-J. Müller", "Sean O'Brien", "Fitzwilliam D’Arcy", "Doe, Jane",
    "أحمد عبد الله", "सुनीता शर्मा", "क्\u200dष", "می\u200cخواهم", "Ludmila Gal·la", "Éloïse", "E\u0301loi\u0308se",
    "山田 太郎", "Sammy Davis Jr.", "x" * 60,
]  # fmt: skip
TEXTS = [
    "evil.com", "You have won: www.evil.example", "t.co", "Visit evil.com now", "Ann.Smith", "пример.рф", "evil．com",
    "evil。com", "evil\u2024com", "evil.\u200dcom", "evil.c\u0301om", "evil.ｃｏｍ",
    "ann@example.org", "ann＠example.org",
    "Call 0900", "Call ٠٩٠٠", "Ann①", "Ann/Bob", "Ann／Bob", "https:x", "Ann\\Bob",
    "mailto:ann", "{{ name }}", "<b>Ann</b>",
    "%(name)s", "[Ann](x)", "Ann #win", "$$$", "☎ me", "An\u200bn", "An\u00adn", "x" * 61,
    "", "  ", "\u202e", "-", "...",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_greeted_as_it_is(name: str):
    assert greetable(name) == name


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_what_could_be_more_than_a_name_is_not_greeted(text: str):
    assert greetable(text) == ""


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("Ann\r\nBcc: Bob", "Ann Bcc: Bob"),
        (" Ann \t Lee ", "Ann Lee"),
        ("Ann\u2028\u2029Lee\x85x", "Ann Lee x"),
        ("\u202eAnn\u202c \u2066L\u2069\u200fee\u200e\u061c", "Ann Lee"),
        ("A\x00n\x07n\x1b\x7f", "Ann"),
        ("\ud800Ann", "Ann"),
    ],
)
def test_what_was_written_becomes_one_line_without_signs_that_nobody_sees(written: str, left: str):
    assert line_of(written) == left
    for locale in LOCALES:
        assert Speaker(locale).shown(written).strip("\u2068\u2069") == left
