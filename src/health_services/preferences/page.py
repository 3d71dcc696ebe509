"""The two small pages of the link that stops mails; they load nothing and need no script."""

from fastapi import Response

from health_services.notifications.models import Kind

_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>Mails from your clinic</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1.2rem;color:#1a1a1a}}
button{{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#0b5cad;color:#fff}}</style></head>
<body>{content}</body></html>"""


def _answer(content: str) -> Response:
    return Response(_PAGE.format(content=content), media_type="text/html", headers=_HEADERS)


def _name(kind: Kind) -> str:
    return kind.replace("_", " ")


def question(kind: Kind) -> Response:
    """Do you really want this?"""
    return _answer(
        f"<h1>Stop these mails?</h1><p>You will get no more mails of the kind “{_name(kind)}”. "
        "Other ways of telling you stay as they are.</p>"
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        "<button>Stop these mails</button></form>"
    )


def done(kind: Kind) -> Response:
    """It is done."""
    return _answer(
        f"<h1>Done</h1><p>You will get no more mails of the kind “{_name(kind)}”. "
        "You can change this in your preferences.</p>"
    )
