"""The languages of messages: which of them a person reads, its sentences, its days, hours and time zones."""

import re
import unicodedata
from datetime import datetime, timedelta
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale
from babel.core import get_global
from babel.dates import NO_INHERITANCE_MARKER, format_date, format_skeleton, format_time, get_timezone_location
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.units import format_unit

LOCALES = ("en", "de", "es", "fr", "pt", "hi", "ar")

CATALOGUES = Path(__file__).with_name("locale")

# CLDR's territory of zones that lie in no country, such as Etc/GMT+5.
_NOWHERE = "ZZ"

# Other names that people write for their language, beside those that Unicode's CLDR knows in each of LOCALES.
_OTHER_NAMES = {"castellano": "es", "castilian": "es", "हिंदी": "hi", "عربي": "ar", "عربية": "ar"}


def locale_for(*wanted: str | None, default: str) -> str:
    """The first of `wanted` that messages are written in, else `default`, which is one of LOCALES.

    Each is a BCP 47 tag (`pt-BR`, `DE_at`) or a language's name as people write it (`German`, `Deutsch`, `العربية`);
    of a list (`German, English`) the first counts.
    """
    languages = _languages()
    for text in wanted:
        first = re.split(r"[-_,;/(]", text or "", maxsplit=1)[0]
        locale = languages.get(_folded(first))
        if locale is not None:
            return locale
    return default


def is_right_to_left(locale: str) -> bool:
    """Whether the language is written from right to left."""
    return locale == "ar"


@cache
def translations(locale: str) -> NullTranslations:
    """The sentences of one of LOCALES, by the English ones in the source; English needs none."""
    if locale == "en":
        return NullTranslations()
    with (CATALOGUES / locale / "messages.po").open("rb") as file:
        catalogue = read_po(file, locale)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return GNUTranslations(compiled)


# Wall times have no zone here: two instants of different zones are equal, and would share an entry of a cache.
@lru_cache(maxsize=4096)
def day_in_words(wall: datetime, locale: str) -> str:
    """The day of a wall time with its weekday, in full: `Sunday, March 1, 2026`."""
    return _plain(format_date(wall, "full", locale=locale))


@lru_cache(maxsize=4096)
def day_in_short(wall: datetime, locale: str) -> str:
    """The day of a wall time with its weekday, shortened: `Sun, Mar 1, 2026`."""
    return _plain(format_skeleton("yMMMEd", wall, locale=locale))


@lru_cache(maxsize=4096)
def time_in_words(wall: datetime, locale: str) -> str:
    """A wall time to the minute: `3:05 PM`, `15:05`."""
    return _plain(format_time(wall.time(), "short", locale=locale))


@lru_cache(maxsize=1024)
def minutes_in_words(minutes: int, locale: str) -> str:
    """A length in minutes: `30 minutes`."""
    return _plain(format_unit(minutes, "duration-minute", locale=locale))


def zone_in_words(moment: datetime, zone: str, locale: str) -> str:
    """What people call the time of the IANA `zone` at an aware `moment`: `Central European Summer Time`."""
    is_summer = moment.utcoffset() != _least_offset(zone, moment.year)
    return _zone_name(zone, locale, "daylight" if is_summer else "standard")


def _plain(text: str) -> str:
    """The same with ordinary spaces, where CLDR has narrow and no-break ones that not every device shows."""
    return " ".join(text.split())


def _folded(name: str) -> str:
    """A name without accents and capitals, as people type it: `Español` and `espanol` are the same."""
    letters = unicodedata.normalize("NFKD", name.strip().casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


@cache
def _languages() -> dict[str, str]:
    """Names and tags of languages, folded, and the locale of each."""
    names = {_folded(name): locale for name, locale in _OTHER_NAMES.items()}
    for locale in LOCALES:
        names[locale] = locale
        for reader in LOCALES:
            names[_folded(Locale.parse(reader).languages[locale])] = locale
    return names


@lru_cache(maxsize=4096)
def _least_offset(zone: str, year: int) -> timedelta:
    """How far the zone's clocks are ahead of UTC while they are not put forward.

    `dst()` does not tell: in Dublin and Casablanca the law calls the forward clock the standard one.
    """
    here = ZoneInfo(zone)
    return min(datetime(year, month, 1, tzinfo=here).utcoffset() or timedelta() for month in range(1, 13))


@lru_cache(maxsize=4096)
def _zone_name(zone: str, locale: str, variant: str) -> str:
    """The zone's name in CLDR, else that of its place (`Morocco Time`), else its IANA name."""
    names = Locale.parse(locale)
    canonical = get_global("zone_aliases").get(zone, zone)
    for same in _same_zones(canonical):
        meta_zone = get_global("meta_zones").get(same, "")
        for known in (names.time_zones.get(same, {}), names.meta_zones.get(meta_zone, {})):
            name = known.get("long", {}).get(variant)
            if name and name != NO_INHERITANCE_MARKER:
                return _plain(name)
    if get_global("zone_territories").get(canonical, _NOWHERE) != _NOWHERE:
        return _plain(get_timezone_location(zone, locale=locale))
    return zone


def _same_zones(canonical: str) -> list[str]:
    """The zone and its former names: CLDR knows India's time as that of Asia/Calcutta."""
    return [canonical, *(former for former, name in get_global("zone_aliases").items() if name == canonical)]
