"""A message in words, from its kind and what it is about; the sentences of each kind stand in `sentences.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from health_services.languages import locales
from health_services.languages.speaking import Moment, Speaker, cut, greetable
from health_services.notifications.models import SECURITY_KINDS, Kind
from health_services.notifications.sentences import TEXTS, link

# The longest SMS, in characters.
_SHORT = 300

_ABOUT_AN_APPOINTMENT = frozenset(
    {
        Kind.APPOINTMENT_BOOKED,
        Kind.APPOINTMENT_CONFIRMED,
        Kind.APPOINTMENT_CANCELLED,
        Kind.APPOINTMENT_RESCHEDULED,
        Kind.APPOINTMENT_REMINDER,
    }
)
# Anybody can make us send these to anybody's address, so they do not carry a text of his: the name.
_TO_ANYBODY = frozenset({Kind.EMAIL_VERIFICATION, Kind.PASSWORD_RESET})


@dataclass(frozen=True)
class Visit:
    """The appointment that a message is about: nothing clinical, so that no message can tell it.

    The instants are aware; `time_zone` is the clinic's IANA name, the address is one line.
    """

    starts_at: datetime
    ends_at: datetime
    time_zone: str
    doctor_name: str
    clinic_name: str
    clinic_address: str | None = None
    clinic_phone: str | None = None
    clinic_email: str | None = None


@dataclass(frozen=True)
class Content:
    """A message in words, before it becomes text, HTML, SMS or push: lines of text, nothing in them is markup.

    `short` (SMS, push) stands alone, has no links and at most 300 characters. `facts` are labels and values, `action`
    and `unsubscribe` a label and a URL; `phone` is the clinic's number as it stands in paragraphs and facts, or empty.
    """

    locale: str
    is_right_to_left: bool
    subject: str
    greeting: str
    paragraphs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    action: tuple[str, str] | None
    closing: tuple[str, ...]
    footer: tuple[str, ...]
    unsubscribe: tuple[str, str] | None
    phone: str
    short: str


def content_of(
    kind: Kind,
    locale: str,
    *,
    name: str,
    visit: Visit | None,
    data: Mapping[str, Any],
    unsubscribe_url: str | None = None,
) -> Content:
    """What a message of this kind says to the person called `name`; `locale` is one of LOCALES.

    `data` may hold `by` (patient, clinic), `url`, `expires_at` (ISO 8601 with an offset), `about` and `host`. Messages
    that nobody can switch off have no link to do so. Raises ValueError if what it is about is missing or no such thing:
    the visit, the URL (http or https).
    """
    say = Speaker(locale)
    facts: tuple[tuple[str, str], ...] = ()
    if visit is not None:
        facts = _facts(say, visit, _fill_in(say, visit))
    elif kind in _ABOUT_AN_APPOINTMENT:
        raise ValueError("a message about an appointment needs its visit")
    text = TEXTS[kind](say, data)
    can_stop = unsubscribe_url is not None and kind not in SECURITY_KINDS
    return Content(
        locale=locale,
        is_right_to_left=locales.is_right_to_left(locale),
        subject=text.subject,
        greeting=_greeting(say, "" if kind in _TO_ANYBODY else name),
        paragraphs=text.paragraphs,
        facts=facts,
        action=text.action,
        closing=(say("Kind regards"), *(() if visit is None else (say.shown(visit.clinic_name),))),
        footer=(say("This message was sent automatically. Please do not reply to it."),),
        unsubscribe=(say("No longer receive messages of this kind"), link(unsubscribe_url)) if can_stop else None,
        phone=say.shown(visit.clinic_phone or "") if visit else "",
        # With ordinary spaces: a no-break one doubles the price of an SMS.
        short=cut(" ".join(text.short.split()), _SHORT),
    )


def _fill_in(say: Speaker, visit: Visit) -> Moment:
    """Let sentences speak of the visit; when it begins."""
    say.time_zone = visit.time_zone
    start = say.moment(visit.starts_at)
    say.fill(when=start.in_words, when_short=start.in_short)
    say.fill_written(doctor=visit.doctor_name, clinic=visit.clinic_name, phone=visit.clinic_phone or "")
    return start


def _greeting(say: Speaker, name: str) -> str:
    shown = say.shown(greetable(name))
    return say("Hello %(name)s,", name=shown) if shown else say("Hello,")


def _facts(say: Speaker, visit: Visit, start: Moment) -> tuple[tuple[str, str], ...]:
    # In UTC, since two times of one zone are subtracted as its clocks show them.
    length = visit.ends_at.astimezone(UTC) - visit.starts_at.astimezone(UTC)
    facts = (
        (say("Date"), start.date),
        (say("Time"), say("%(time)s (%(zone)s)", time=start.time, zone=start.zone)),
        (say("Duration"), locales.minutes_in_words(length // timedelta(minutes=1), say.locale)),
        (say("With"), say.shown(visit.doctor_name)),
        (say("Where"), say.shown(visit.clinic_name)),
        (say("Address"), say.shown(visit.clinic_address or "")),
        (say("Telephone"), say.shown(visit.clinic_phone or "")),
        (say("E-mail"), say.shown(visit.clinic_email or "")),
    )
    return tuple(fact for fact in facts if fact[1])
