"""A web page's session: its refresh token in a cookie that no script reads, and that no other page can make use of."""

from http.cookies import Morsel, SimpleCookie
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.sessions.succession import csrf_token
from tests.api.answers import digest, refusal
from tests.sessions.test_refreshing import OVER
from tests.sessions.visitors import PASSWORD, Visitor, configured, ended, notices, pass_time

REFRESH, CSRF = "__Host-hs_refresh", "__Host-hs_csrf"


def cookies(answer: httpx.Response) -> dict[str, Morsel[str]]:
    """The cookies that an answer sets, by name."""
    found: dict[str, Morsel[str]] = {}
    for line in answer.headers.get_list("set-cookie"):
        found |= SimpleCookie(line)
    return found


class Page:
    """A page of this origin: keeps cookies as a browser does, and reads those that it may."""

    def __init__(self, api: httpx.AsyncClient) -> None:
        self._api = api
        self.jar: dict[str, str] = {}
        self.access = ""

    async def sign_in(self, path: str = "/auth/login", **more: Any) -> httpx.Response:
        body = {"email": "ada@example.org", "password": PASSWORD, "refresh_in": "cookie", **more}
        return self.keep(await self._api.post(path, json=body))

    def keep(self, answer: httpx.Response) -> httpx.Response:
        for name, cookie in cookies(answer).items():
            self.jar[name] = cookie.value
        if answer.status_code == 200:
            self.access = answer.json()["access_token"]
        return answer

    async def post(self, path: str, body: Any = None, **headers: str | None) -> httpx.Response:
        """As the page does, but for these headers; None leaves one out."""
        usual = {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items() if value),
            "X-CSRF-Token": self.jar.get(CSRF),
            "Origin": "http://test",
            "Sec-Fetch-Site": "same-origin",
        }
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        both = {name.encode(): value.encode() for name, value in (usual | sent).items() if value is not None}
        return self.keep(await self._api.post(path, json=body, headers=both))

    async def is_in(self) -> bool:
        headers = {"Authorization": f"Bearer {self.access}"}
        return (await self._api.get("/auth/profile", headers=headers)).status_code == 200


@pytest.fixture
async def page(api: httpx.AsyncClient, ada: Visitor, owner: asyncpg.Connection) -> Page:
    """Ada's, signed in."""
    assert ada.access
    await owner.execute("DELETE FROM sessions")
    page = Page(api)
    assert (await page.sign_in()).status_code == 200
    return page


@pytest.mark.parametrize("door", ["login", "register", "refresh"])
async def test_the_cookies_are_as_safe_as_cookies_can_be(page: Page, app: FastAPI, door: str):
    if door == "register":
        answer = await page.sign_in("/auth/register", name="Eve", email="eve@example.org")
    else:
        answer = await (page.post("/auth/refresh") if door == "refresh" else page.sign_in())
    found = cookies(answer)
    assert set(found) == {REFRESH, CSRF}
    for cookie in found.values():
        assert cookie["secure"]
        assert cookie["samesite"].lower() == "strict"
        assert cookie["path"] == "/"
        assert cookie["domain"] == ""
        assert int(cookie["max-age"]) == app.state.settings.refresh_token_days * 86_400
    assert (bool(found[REFRESH]["httponly"]), bool(found[CSRF]["httponly"])) == (True, False)
    body = answer.json()
    assert body["refresh_token"] is None
    assert body["csrf_token"] == found[CSRF].value
    assert found[REFRESH].value not in answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_a_page_refreshes_and_signs_out(page: Page, owner: asyncpg.Connection):
    seen = {page.jar[REFRESH]}
    for _ in range(3):
        assert (await page.post("/auth/refresh")).status_code == 200
        assert page.jar[REFRESH] not in seen
        assert await page.is_in()
        seen.add(page.jar[REFRESH])
    left = await page.post("/auth/logout")
    assert left.status_code == 204
    assert {name: (cookie.value, cookie["max-age"]) for name, cookie in cookies(left).items()} == {
        REFRESH: ("", "0"),
        CSRF: ("", "0"),
    }
    assert left.headers["clear-site-data"] == '"cookies", "storage"'
    assert not await page.is_in()
    assert await ended(owner) == ["signed out"]
    refusal(await page.post("/auth/refresh"), "VALIDATION_ERROR", "refresh_token")


FORGED: dict[str, dict[str, str | None]] = {
    "no CSRF token": {"X_CSRF_Token": None},
    "an empty one": {"X_CSRF_Token": ""},
    "one that somebody made up": {"X_CSRF_Token": "0" * 64},
    "one in letters beyond ASCII": {"X_CSRF_Token": "\u00e9"},
    "another site": {"Sec_Fetch_Site": "cross-site"},
    "another host of this site": {"Sec_Fetch_Site": "same-site"},
    "an address that somebody typed": {"Sec_Fetch_Site": "none"},
    "another origin": {"Origin": "https://evil.example"},
    "an origin without a name": {"Origin": "null"},
    "this host by another scheme": {"Origin": "https://test"},
    "a host that begins like this one": {"Origin": "http://test.evil.example"},
}


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_what_another_page_can_send_is_refused(page: Page, owner: asyncpg.Connection, path: str, what: str):
    before = await digest(owner)
    refusal(await page.post(path, **FORGED[what]), "AUTHORIZATION_ERROR")
    assert await digest(owner) == before
    assert await page.is_in()
    assert (await page.post("/auth/refresh", Origin=None, Sec_Fetch_Site=None)).status_code == 200


async def test_the_csrf_token_of_another_session_is_none(page: Page, api: httpx.AsyncClient):
    other = Page(api)
    await other.sign_in()
    answer = await page.post("/auth/refresh", X_CSRF_Token=other.jar[CSRF])
    refusal(answer, "AUTHORIZATION_ERROR")
    tossed = {**page.jar, CSRF: other.jar[CSRF]}
    page.jar = tossed
    refusal(await page.post("/auth/refresh"), "AUTHORIZATION_ERROR")


async def test_a_csrf_token_of_an_earlier_secret_counts(page: Page, app: FastAPI, owner: asyncpg.Connection):
    session_id = await owner.fetchval("SELECT id FROM sessions")
    assert page.jar[CSRF] == csrf_token(app.state.tokens.secret, session_id)
    other = csrf_token(b"a secret that came after, and long enough", session_id)
    refusal(await page.post("/auth/refresh", X_CSRF_Token=other), "AUTHORIZATION_ERROR")


async def test_the_public_url_is_this_origin_too(page: Page, app: FastAPI):
    proxied = "https://health.example.org"
    refusal(await page.post("/auth/refresh", Origin=proxied), "AUTHORIZATION_ERROR")
    with configured(app, public_url=f"{proxied}/base"):
        assert (await page.post("/auth/refresh", Origin=proxied)).status_code == 200


async def test_a_token_is_good_only_where_it_was_put(page: Page, ada: Visitor, app: FastAPI, owner: asyncpg.Connection):
    """What was in a cookie comes from nowhere else, and what was in an answer from no cookie."""
    await ada.sign_in()
    before = await digest(owner)
    refusal(await ada.renew(page.jar[REFRESH]), "AUTHENTICATION_ERROR")
    session_id = await owner.fetchval("SELECT max(id) FROM sessions")
    page.jar |= {REFRESH: ada.refresh, CSRF: csrf_token(app.state.tokens.secret, session_id)}
    refusal(await page.post("/auth/refresh"), "AUTHENTICATION_ERROR")
    assert await digest(owner) == before


async def test_a_token_in_the_body_counts_alone(page: Page, ada: Visitor):
    """A browser adds its cookies to everything; who sends a token means that one."""
    await ada.sign_in()
    kept = page.jar[REFRESH]
    answer = await page.post("/auth/refresh", {"refresh_token": ada.refresh}, User_Agent=ada.agent, X_CSRF_Token=None)
    assert answer.json()["refresh_token"] not in {None, ada.refresh}
    assert cookies(answer) == {}
    assert page.jar[REFRESH] == kept
    assert (await page.post("/auth/refresh", {"refresh_token": None})).status_code == 200
    assert (await page.post("/auth/refresh", {})).status_code == 200


async def test_a_stolen_cookie_ends_the_session(page: Page, owner: asyncpg.Connection):
    stolen = dict(page.jar)
    assert (await page.post("/auth/refresh")).status_code == 200
    assert (await page.post("/auth/refresh", Cookie=f"{REFRESH}={stolen[REFRESH]}")).status_code == 200, "in the grace"
    await pass_time(owner, OVER)
    page.jar = stolen
    refusal(await page.post("/auth/refresh"), "AUTHENTICATION_ERROR")
    assert await ended(owner) == ["refresh token used twice"]
    assert await notices(owner) == ["refresh_token_reused"]


async def test_an_unknown_cookie_is_no_secret(api: httpx.AsyncClient, page: Page, owner: asyncpg.Connection):
    page.jar[REFRESH] = "hsr_nobody"
    refusal(await page.post("/auth/refresh"), "AUTHENTICATION_ERROR")
    left = await page.post("/auth/logout")
    assert (left.status_code, set(cookies(left))) == (204, {REFRESH, CSRF})
    assert await ended(owner) == [None]


async def test_a_form_of_another_site_signs_nobody_in(api: httpx.AsyncClient, page: Page):
    form = {"email": "ada@example.org", "password": PASSWORD, "refresh_in": "cookie"}
    assert (await api.post("/auth/login", data=form)).status_code == 415
    as_text = await api.post("/auth/login", content=b"{}", headers={"Content-Type": "text/plain"})
    assert as_text.status_code == 415
