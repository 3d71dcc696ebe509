"""How sessions travel by HTTP: the client's device, and refresh tokens in bodies or in cookies.

A web page of this origin may have its refresh token in a cookie that no script reads and no other site sends. Cookies
are sent by browsers unasked, so what arrives in one counts only with the session's CSRF token, which another site
cannot know, and never from another origin.
"""

from urllib.parse import urlsplit

from fastapi import Request, Response

from health_services.api.origin import address_of
from health_services.errors import AuthorizationException, ValidationException
from health_services.sessions.clients import client_of
from health_services.sessions.schemas import RefreshTokenGiven, SignedIn
from health_services.sessions.service import Device, Lifetimes, Shown

REFRESH_COOKIE = "__Host-hs_refresh"
CSRF_COOKIE = "__Host-hs_csrf"
CSRF_HEADER = "X-CSRF-Token"


def lifetimes_of(request: Request) -> Lifetimes:
    """How long sessions live, as the settings say."""
    lifetimes: Lifetimes = request.app.state.gate.lifetimes
    return lifetimes


def device_of(request: Request, refresh_in: str = "body") -> Device:
    """Where the request comes from, and where the refresh token of a new session is to go."""
    return Device(client_of(request.headers.get("user-agent")), address_of(request), refresh_in == "cookie")


def delivered(request: Request, response: Response, signed_in: SignedIn) -> SignedIn:
    """What the caller is answered: with the refresh token, or, where it belongs into a cookie, with that set."""
    if signed_in.csrf_token is None or signed_in.refresh_token is None:
        return signed_in
    seconds = int(lifetimes_of(request).refresh.total_seconds())
    _set_cookie(response, REFRESH_COOKIE, signed_in.refresh_token, seconds)
    _set_cookie(response, CSRF_COOKIE, signed_in.csrf_token, seconds)
    return signed_in.model_copy(update={"refresh_token": None})


def forget(response: Response) -> None:
    """Let a browser forget all that it keeps for this site."""
    _set_cookie(response, REFRESH_COOKIE, "", 0)
    _set_cookie(response, CSRF_COOKIE, "", 0)
    response.headers["Clear-Site-Data"] = '"cookies", "storage"'


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    is_secret = name == REFRESH_COOKIE
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=is_secret, samesite="strict")


def shown(request: Request, body: RefreshTokenGiven | None) -> Shown:
    """The refresh token that was sent; one in the body counts alone, whatever cookies a browser adds to it.

    Raises ValidationException where there is none, AuthorizationException for a cookie from a page of another origin.
    """
    if body is not None and body.refresh_token is not None:
        return Shown(body.refresh_token.get_secret_value())
    cookie = request.cookies.get(REFRESH_COOKIE)
    if not cookie:
        raise ValidationException.of("refresh_token", "is required, here or as a cookie")
    if not _is_of_this_origin(request):
        raise AuthorizationException("Cookies are taken only from pages of this origin.")
    return Shown(cookie, csrf_token=request.headers.get(CSRF_HEADER, ""))


def _is_of_this_origin(request: Request) -> bool:
    """Whether nothing says that a page of another origin asks; the CSRF token is needed all the same."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    ours = {f"{request.url.scheme}://{request.headers.get('host', '')}".lower()}
    if request.app.state.settings.public_url is not None:
        parts = urlsplit(request.app.state.settings.public_url)
        ours.add(f"{parts.scheme}://{parts.netloc}".lower())
    return site in {None, "same-origin"} and (origin is None or origin.lower() in ours)
