"""The pages that mailed links lead to: /verify-email, /reset-password, /accept-invitation, and their script.

They know nothing of the token, which stands behind the `#` of the address: the script reads it there, and sends it to
the API when a person says so. Addresses in them are relative, for a HEALTH_PUBLIC_URL with a path.
"""

from html import escape
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from health_services.api.dependencies import DefaultLocale
from health_services.api.openapi import errors
from health_services.api.web_page import web_page
from health_services.languages.locales import locale_for
from health_services.languages.speaking import Speaker

_SCRIPT = Path(__file__).with_name("account-pages.js").read_text(encoding="utf-8")
_ALLOWS = "script-src 'self'; connect-src 'self'; form-action 'none'"
# Without the script there is no form, and CSP lets none be sent: a password is never in an address.
_CONTENT = """<form method="post" action="{action}" hidden>{inputs}<button>{button}</button></form>
<p role="status" dir="auto" {sentences}></p><noscript><p>{noscript}</p></noscript>
<script type="module" src="account-pages.js"></script>"""
_INPUT = """<p><label>{label}
<input type="password" autocomplete="new-password" data-field="{field}" required></label></p>"""
# More of it comes from nobody who only wants to be understood.
_LONGEST_LANGUAGES = 200


async def _speaker(request: Request, locale: DefaultLocale) -> Speaker:
    """In the language of the browser, which names those of its user in the order in which he likes them."""
    wanted = request.headers.get("Accept-Language", "")[:_LONGEST_LANGUAGES].split(",")
    return Speaker(locale_for(*wanted, default=locale))


Say = Annotated[Speaker, Depends(_speaker, scope="function")]


def _answers(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    found = {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}
    return {200: found} | errors()


_PAGE = _answers("text/html", "A page for a person")
router = APIRouter(tags=["Authentication"])


@router.get("/verify-email", summary="The page that verifies an address", response_class=Response, responses=_PAGE)
async def verify_email_page(say: Say) -> Any:
    """Where the link in a mail leads; it asks, since programs follow links too, and sends `/auth/email/verify`."""
    done = say("Your e-mail address is confirmed.")
    return _page(
        say, say("Please confirm your e-mail address"), "email/verify", done, button=say("Confirm the address")
    )


@router.get("/reset-password", summary="The page that sets a new password", response_class=Response, responses=_PAGE)
async def reset_password_page(say: Say) -> Any:
    """Where the link in a mail leads; it asks for a password, and sends `/auth/password/reset`."""
    done = say("Your password has been changed, and you have been signed out everywhere. You can sign in now.")
    return _password_page(say, say("Choose a new password"), "password/reset", done, field="new_password")


@router.get(
    "/accept-invitation", summary="The page that accepts an invitation", response_class=Response, responses=_PAGE
)
async def accept_invitation_page(say: Say) -> Any:
    """Where the link in a mail leads; it asks for a password, and sends `/auth/invitation/accept`."""
    done = say("Your account is ready. You can sign in now.")
    return _password_page(say, say("Choose a password"), "invitation/accept", done, field="password")


@router.get(
    "/account-pages.js",
    summary="The script of these pages",
    response_class=Response,
    responses=_answers("text/javascript", "The script"),
)
async def account_pages_script() -> Any:
    """Reads the token behind the `#`, takes it out of the address bar, and sends it to the API."""
    return Response(_SCRIPT, media_type="text/javascript")


def _password_page(say: Speaker, title: str, operation: str, done: str, *, field: str) -> Response:
    labels = (say("New password: 8 characters or more, and not a common one"), say("The same password once more"))
    inputs = "".join(_INPUT.format(label=escape(label), field=field) for label in labels)
    return _page(say, title, operation, done, button=say("Save"), inputs=inputs)


def _page(say: Speaker, title: str, operation: str, done: str, *, button: str, inputs: str = "") -> Response:
    """What sends `operation` of /auth; the script says one of the sentences."""
    sentences = {
        "done": done,
        "over": say("This link is not valid any more: it was used, has expired, or was replaced by a newer one."),
        "incomplete": say("This link is not complete. Please open it once more from the e-mail."),
        "different": say("The two passwords are not the same."),
        "unreachable": say("The service cannot be reached. Please try again later."),
    }
    content = _CONTENT.format(
        action=f"api/v1/auth/{operation}",
        inputs=inputs,
        button=escape(button),
        sentences=" ".join(f'data-{name}="{escape(sentence)}"' for name, sentence in sentences.items()),
        noscript=escape(say("This page needs JavaScript.")),
    )
    return web_page(say, title, content, allows=_ALLOWS)
