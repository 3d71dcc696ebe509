"""Which language a person reads, and that each says all that the source says."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

import health_services
from health_services.languages.locales import CATALOGUES, LOCALES, locale_for

SOURCE = Path(health_services.__file__).parent
PLACE = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize(
    ("wanted", "locale"),
    [
        (["de"], "de"),
        (["pt-BR"], "pt"),
        (["DE_at"], "de"),
        (["zh-Hant", "fr-CA"], "fr"),
        (["German"], "de"),
        ([" deutsch "], "de"),
        (["Español (México)"], "es"),
        (["espanol"], "es"),
        (["Castellano"], "es"),
        (["français"], "fr"),
        (["हिन्दी"], "hi"),
        (["हिंदी"], "hi"),
        (["العربية"], "ar"),
        (["arabe"], "ar"),
        (["Portuguese, English"], "pt"),
        ([None, "", "Klingon", "ar"], "ar"),
        (["den", "e", "C", "-de"], "hi"),
        ([], "hi"),
    ],
)
def test_a_language_is_known_by_its_tag_and_by_its_name(wanted, locale):
    assert locale_for(*wanted, default="hi") == locale


def test_every_catalogue_says_exactly_what_the_source_says():
    keywords: dict[str, Any] = {"say": None, "in_short": None}
    speaking = [file for file in SOURCE.rglob("*.py") if "Speaker" in file.read_text(encoding="utf-8")]
    sentences = {found[1] for file in speaking for found in extract_from_file("python", file, keywords=keywords)}
    assert len(sentences) > 60
    translated = {file.parent.name: file for file in CATALOGUES.glob("*/messages.po")}
    assert set(translated) == set(LOCALES) - {"en"}
    for locale, file in translated.items():
        catalogue = read_po(BytesIO(file.read_bytes()), locale, abort_invalid=True)
        assert not catalogue.obsolete, locale
        assert {message.id for message in catalogue if message.id} == sentences, locale
        for sentence in sentences:
            message = catalogue[sentence]
            said_here = str(message.string)
            assert not message.fuzzy, (locale, sentence)
            assert said_here.strip(), (locale, sentence)
            assert set(PLACE.findall(said_here)) == set(PLACE.findall(str(sentence))), (locale, sentence)
            assert "%" not in PLACE.sub("", said_here), (locale, sentence)
