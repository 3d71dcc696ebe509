"""Saying a sentence in somebody's language, with what people wrote put into it and never read as anything else."""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from health_services.languages import locales

# The longest that a name may be in an SMS, and the longest that is greeted, in characters.
_SHORT_NAME, _LONGEST_NAME = 32, 60

# Control characters, and what turns the direction of what stands around it; surrogates cannot be sent at all.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# What names have besides letters and their marks; the last two join and part the letters of Indian and Persian names.
_BETWEEN_LETTERS = frozenset(" .,-'’ʼ·‐\u200d\u200c")
# A dot with more than an initial behind it: mail programs make a link of `Ann.Smith` as of `evil.example`.
_LIKE_A_LINK = re.compile(r"\.[^\s.,-]{2}")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")


def cut(text: str, longest: int) -> str:
    """The text in at most so many characters; dots tell that something is missing."""
    return text if len(text) <= longest else f"{text[: longest - 3].rstrip()}..."


def line_of(text: str) -> str:
    """What somebody wrote, as one line without signs that nobody sees."""
    return " ".join(_UNPRINTABLE.sub("", text).split())


def greetable(name: str) -> str:
    """The name, if it can be nothing but one; else nothing.

    Nobody checks what people call themselves, and anybody can let us write to a stranger's address: so a name carries
    no address, no number and no long text there.
    """
    line = line_of(name)
    is_written_like_a_name = all(unicodedata.category(sign)[0] in "LM" or sign in _BETWEEN_LETTERS for sign in line)
    if len(line) > _LONGEST_NAME or not is_written_like_a_name or _LIKE_A_LINK.search(line):
        return ""
    return line if any(map(str.isalpha, line)) else ""


@dataclass(frozen=True)
class Moment:
    """An instant as a clinic's clock shows it, in words; `bare` is `in_short` without the zone."""

    date: str
    time: str
    zone: str
    in_words: str
    in_short: str
    bare: str


@dataclass
class Speaker:
    """Speaks one language, about one thing; `time_zone` is the IANA name of the zone whose times it tells."""

    locale: str
    time_zone: str = "UTC"
    _places: dict[str, str] = field(default_factory=dict)
    _short_places: dict[str, str] = field(default_factory=dict)

    def __call__(self, sentence: str, **places: str) -> str:
        """The sentence in that language, its places filled in."""
        return locales.translations(self.locale).gettext(sentence) % (self._places | places)

    def in_short(self, sentence: str) -> str:
        """The sentence for an SMS, where names are cut."""
        return locales.translations(self.locale).gettext(sentence) % self._short_places

    def knows(self, place: str) -> bool:
        """Whether a sentence may have this place."""
        return bool(self._places.get(place))

    def fill(self, **places: str) -> None:
        """Fill places with words of ours."""
        self._places |= places
        self._short_places |= places

    def fill_written(self, **places: str) -> None:
        """Fill places with what somebody wrote."""
        for place, text in places.items():
            self._places[place] = self.shown(text)
            self._short_places[place] = self.shown(text, _SHORT_NAME)

    def shown(self, text: str, longest: int | None = None) -> str:
        """What somebody wrote, as one line that cannot turn the direction of what stands around it."""
        line = line_of(text)
        if longest is not None:
            line = cut(line, longest)
        is_foreign = locales.is_right_to_left(self.locale) or _RIGHT_TO_LEFT.search(line)
        return f"\u2068{line}\u2069" if line and is_foreign else line

    def moment(self, instant: datetime) -> Moment:
        """The instant on the clock of `time_zone`; raises ValueError if it has no offset."""
        if instant.tzinfo is None:
            raise ValueError("an instant needs its offset")
        say = self
        local = instant.astimezone(ZoneInfo(self.time_zone))
        wall = local.replace(tzinfo=None)
        date, day = locales.day_in_words(wall, self.locale), locales.day_in_short(wall, self.locale)
        time = locales.time_in_words(wall, self.locale)
        zone = locales.zone_in_words(local, self.time_zone, self.locale)
        return Moment(
            date=date,
            time=time,
            zone=zone,
            in_words=say("%(date)s at %(time)s (%(zone)s)", date=date, time=time, zone=zone),
            in_short=say("%(day)s, %(time)s (%(zone)s)", day=day, time=time, zone=zone),
            bare=say("%(day)s, %(time)s", day=day, time=time),
        )
