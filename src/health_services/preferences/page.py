"""The two small pages of the link that stops messages; they load nothing and need no script."""

from html import escape

from fastapi import Response

from health_services.languages.locales import is_right_to_left
from health_services.languages.speaking import Speaker
from health_services.notifications.models import Kind

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS = {"Content-Security-Policy": _POLICY}
_PAGE = """<!doctype html>
<html lang="{lang}" dir="{direction}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.2rem;color:#1a1a1a}}
button{{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#0b5cad;color:#fff}}</style></head>
<body><h1>{title}</h1>{content}</body></html>"""
_FORM = """<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">
<button>{label}</button></form>"""


def question(say: Speaker, kind: Kind) -> Response:
    """Do you really want this?"""
    form = _FORM.format(label=escape(say("Stop these messages")))
    return _answer(say, say("Stop these messages?"), _paragraph(_what_ends(say, kind)) + form)


def done(say: Speaker, kind: Kind) -> Response:
    """It is done."""
    again = say("You can turn them on again in your preferences.")
    return _answer(say, say("Done"), _paragraph(_what_ends(say, kind)) + _paragraph(again))


def _answer(say: Speaker, title: str, content: str) -> Response:
    direction = "rtl" if is_right_to_left(say.locale) else "ltr"
    page = _PAGE.format(lang=say.locale, direction=direction, title=escape(title), content=content)
    return Response(page, media_type="text/html", headers=_HEADERS)


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


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
