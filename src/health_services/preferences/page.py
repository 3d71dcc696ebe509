"""The two small pages of the link that stops messages; they load nothing and need no script."""

from html import escape

from fastapi import Response

from health_services.api.web_page import paragraph, web_page
from health_services.languages.speaking import Speaker
from health_services.notifications.models import Kind

_ALLOWS = "form-action 'self'"
_FORM = """<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">
<button>{label}</button></form>"""


def question(say: Speaker, kind: Kind) -> Response:
    """Do you really want this?"""
    form = _FORM.format(label=escape(say("Stop these messages")))
    return web_page(say, say("Stop these messages?"), paragraph(_what_ends(say, kind)) + form, allows=_ALLOWS)


def done(say: Speaker, kind: Kind) -> Response:
    """It is done."""
    again = say("You can turn them on again in your preferences.")
    return web_page(say, say("Done"), paragraph(_what_ends(say, kind)) + paragraph(again), allows=_ALLOWS)


def _what_ends(say: Speaker, kind: Kind) -> str:
    names = {
        Kind.APPOINTMENT_BOOKED: say("Booked appointments"),
        Kind.APPOINTMENT_CONFIRMED: say("Confirmed appointments"),
        Kind.APPOINTMENT_CANCELLED: say("Cancelled appointments"),
        Kind.APPOINTMENT_RESCHEDULED: say("Moved appointments"),
        Kind.APPOINTMENT_REMINDER: say("Reminders of appointments"),
        Kind.WAITLIST_OFFER: say("Places that have become free"),
    }
    return say(
        "You will get no more messages of this kind, neither by e-mail nor by SMS nor in the browser: %(kind)s.",
        kind=names[kind],
    )
