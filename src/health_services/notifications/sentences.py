"""What each kind of message says: a sentence is found and changed here, its translations in `languages/locale/`.

`say("…")` and `say.in_short("…")` mark a sentence for the catalogues. Sentences about an appointment have the places
`%(when)s` and `%(when_short)s`, `%(doctor)s`, `%(clinic)s`, and `%(phone)s` where the clinic has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from health_services.languages.speaking import Speaker
from health_services.notifications.models import Kind
from health_services.notifications.notices import DONE

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Text:
    """What is different in each kind: `short` for SMS and push, `action` a label and a URL."""

    subject: str
    paragraphs: tuple[str, ...]
    short: str
    action: tuple[str, str] | None = None


def link(url: object) -> str:
    """The URL, if a message may link to it; raises ValueError."""
    if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"} or url.split() != [url]:
        raise ValueError("a message needs a URL of http or https to link to")
    return url


def _booked(say: Speaker, _: Data) -> Text:
    return Text(
        subject=say("Appointment booked: %(when_short)s"),
        paragraphs=(say("Your appointment is booked for %(when)s."), _cancel_in_time(say)),
        short=say.in_short("%(clinic)s: your appointment with %(doctor)s is booked for %(when)s."),
    )


def _confirmed(say: Speaker, _: Data) -> Text:
    return Text(
        subject=say("Appointment confirmed: %(when_short)s"),
        paragraphs=(say("Your appointment on %(when)s is confirmed."), _cancel_in_time(say)),
        short=say.in_short("%(clinic)s: your appointment with %(doctor)s on %(when)s is confirmed."),
    )


def _cancel_in_time(say: Speaker) -> str:
    return say("If you cannot come, please cancel in good time, so that somebody else can have the place.")


def _cancelled(say: Speaker, data: Data) -> Text:
    subject = say("Appointment cancelled: %(when_short)s")
    if data.get("by") == "patient":
        return Text(
            subject=subject,
            paragraphs=(say("Your appointment on %(when)s is cancelled, as you asked."),),
            short=say.in_short("%(clinic)s: your appointment with %(doctor)s on %(when)s is cancelled, as you asked."),
        )
    if data.get("by") == "clinic":
        another_time = (
            say("Please call %(phone)s to find another time.")
            if say.knows("phone")
            else say("Please contact the clinic to find another time.")
        )
        told = say.in_short("%(clinic)s has cancelled your appointment with %(doctor)s on %(when)s.")
        return Text(
            subject=subject,
            paragraphs=(
                say("The clinic has cancelled your appointment on %(when)s. We are sorry for the trouble."),
                another_time,
            ),
            short=f"{told} {another_time}",
        )
    return Text(
        subject=subject,
        paragraphs=(say("Your appointment on %(when)s is cancelled."),),
        short=say.in_short("%(clinic)s: your appointment with %(doctor)s on %(when)s is cancelled."),
    )


def _rescheduled(say: Speaker, _: Data) -> Text:
    return Text(
        subject=say("Appointment moved: %(when_short)s"),
        paragraphs=(
            say("Your appointment has been moved. It now takes place on %(when)s."),
            say("If the new time does not suit you, please tell the clinic."),
        ),
        short=say.in_short("%(clinic)s: your appointment with %(doctor)s has been moved to %(when)s."),
    )


def _reminder(say: Speaker, _: Data) -> Text:
    cannot_come = (
        say("You cannot come? Please call %(phone)s or cancel in good time.")
        if say.knows("phone")
        else say("You cannot come? Please cancel in good time.")
    )
    reminder = say.in_short("%(clinic)s: reminder of your appointment with %(doctor)s on %(when)s.")
    return Text(
        subject=say("Reminder of your appointment: %(when_short)s"),
        paragraphs=(say("We would like to remind you of your appointment on %(when)s."), cannot_come),
        short=f"{reminder} {cannot_come}",
    )


def _waitlist_offer(say: Speaker, data: Data) -> Text:
    if say.knows("when"):
        subject = say("A place has become free: %(when_short)s")
        offer = say("A place with %(doctor)s has become free on %(when)s.")
        short = say.in_short("%(clinic)s: a place with %(doctor)s has become free on %(when)s.")
    else:
        subject = say("A place has become free")
        offer = short = say("A place that you are waiting for has become free.")
    paragraphs, action = [offer], None
    if data.get("url"):
        action = (say("Accept the place"), link(data["url"]))
        paragraphs.append(say("If you would like to have it, please accept it."))
    else:
        paragraphs.append(say("If you would like to have it, please contact the clinic."))
    if data.get("expires_at"):
        until = say.moment(datetime.fromisoformat(str(data["expires_at"])))
        paragraphs.append(say("The offer is open until %(until)s.", until=until.in_words))
        # An SMS that tells when the place is has named the zone already.
        brief = until.bare if say.knows("when") else until.in_words
        short = f"{short} {say('The offer is open until %(until)s.', until=brief)}"
    return Text(subject=subject, paragraphs=tuple(paragraphs), short=short, action=action)


def _email_verification(say: Speaker, data: Data) -> Text:
    if data.get("about") == "invitation":
        opened = say("An account has been opened for you. Please choose a password, and then sign in.")
        return Text(
            subject=say("Your new account"),
            paragraphs=(opened, say("If you do not expect this, please ignore this message.")),
            action=(say("Choose a password"), link(data.get("url"))),
            short=opened,
        )
    return Text(
        subject=say("Please confirm your e-mail address"),
        paragraphs=(
            say("Please confirm that this e-mail address is yours."),
            say("If you have not opened an account with us, please ignore this message."),
        ),
        action=(say("Confirm the address"), link(data.get("url"))),
        short=say("Please confirm your e-mail address: the link is in the e-mail that we have sent you."),
    )


def _password_reset(say: Speaker, data: Data) -> Text:
    not_you = say("If it was not you, please ignore this message: your password stays as it is.")
    where = say("A new password was requested for your account: the link is in the e-mail that we have sent you.")
    return Text(
        subject=say("Choose a new password"),
        paragraphs=(say("A new password was requested for your account."), not_you),
        action=(say("Choose a new password"), link(data.get("url"))),
        short=f"{where} {not_you}",
    )


def _emergency_access(say: Speaker) -> Text:
    opened = say("A doctor who does not treat you has opened your patient record, because of an emergency.")
    who = say("Your access log shows who it was and when. If you know of no emergency, please contact us.")
    return Text(
        subject=say("Your patient record was opened in an emergency"),
        paragraphs=(opened, who),
        short=f"{opened} {who}",
    )


def _security_notice(say: Speaker, data: Data) -> Text:
    if data.get("about") == "emergency_access":
        return _emergency_access(say)
    if data.get("about") == "webhook_disabled" and data.get("host"):
        say.fill_written(host=str(data["host"]))
        return Text(
            subject=say("A webhook has been switched off"),
            paragraphs=(
                say("The webhook to %(host)s has been switched off, because its messages could not be delivered."),
                say("Please check the receiver, and then set the webhook up again."),
            ),
            short=say.in_short(
                "The webhook to %(host)s has been switched off, because its messages could not be delivered."
            ),
        )
    done = DONE.get(str(data.get("about")))
    changed = done(say, data) if done else say("Something about the security of your account has changed.")
    not_you = say("If it was not you, please change your password and contact us.")
    return Text(
        subject=say("A notice about the security of your account"),
        paragraphs=(changed, not_you),
        short=f"{changed} {not_you}",
    )


TEXTS: dict[Kind, Callable[[Speaker, Data], Text]] = {
    Kind.APPOINTMENT_BOOKED: _booked,
    Kind.APPOINTMENT_CONFIRMED: _confirmed,
    Kind.APPOINTMENT_CANCELLED: _cancelled,
    Kind.APPOINTMENT_RESCHEDULED: _rescheduled,
    Kind.APPOINTMENT_REMINDER: _reminder,
    Kind.WAITLIST_OFFER: _waitlist_offer,
    Kind.EMAIL_VERIFICATION: _email_verification,
    Kind.PASSWORD_RESET: _password_reset,
    Kind.SECURITY_NOTICE: _security_notice,
}
