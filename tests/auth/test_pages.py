"""The pages that mailed links lead to: what a server and a log see of them, and their way in Chromium."""

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Page, Request, async_playwright

from health_services.languages.locales import LOCALES, translations
from tests.auth.post import Post
from tests.races.servers import served
from tests.servers import TestDatabase
from tests.sessions.visitors import Visitor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt install chromium)")
NEW_PASSWORD = "four green kettles"
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "connect-src": "'self'", "style-src": "'unsafe-inline'",
    "form-action": "'none'", "frame-ancestors": "'none'", "base-uri": "'none'",
}  # fmt: skip
PAGES = [
    ("verify-email", "Please confirm your e-mail address", "email/verify", []),
    ("reset-password", "Choose a new password", "password/reset", ["new_password"] * 2),
    ("accept-invitation", "Choose a password", "invitation/accept", ["password"] * 2),
]


@pytest.mark.parametrize(("path", "title", "operation", "fields"), PAGES)
async def test_each_page(
    api: httpx.AsyncClient, app: FastAPI, path: str, title: str, operation: str, fields: list[str]
):
    page = await api.get(f"http://test/{path}")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy == POLICY
    assert f"<h1>{title}</h1>" in page.text
    assert re.findall('data-field="([^"]*)"', page.text) == fields
    assert page.text.count('type="password" autocomplete="new-password"') == len(fields)
    assert not re.search(r' on\w+="| name="(?!viewport|robots)|<script(?! type="module" src=)|//', page.text)
    (action,) = re.findall('action="([^"]*)"', page.text)
    assert action == f"api/v1/auth/{operation}"
    document = app.openapi()
    shape = document["paths"][f"/{action}"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    known = document["components"]["schemas"][shape.rpartition("/")[2]]["properties"]
    assert set(known) == {"token", *fields}


async def test_the_script_is_a_file_of_ours(api: httpx.AsyncClient):
    script = await api.get("http://test/account-pages.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert not re.search("https?:|eval|innerHTML|Storage|cookie", script.text)


@pytest.mark.parametrize("locale", LOCALES)
async def test_in_the_language_of_the_browser(api: httpx.AsyncClient, locale: str):
    wanted = {"Accept-Language": f"zh-Hant, {locale}-XX;q=0.9, en;q=0.1"}
    page = (await api.get("http://test/reset-password", headers=wanted)).text
    assert f'lang="{locale}" dir="{"rtl" if locale == "ar" else "ltr"}"' in page
    assert f"<h1>{translations(locale).gettext('Choose a new password')}</h1>" in page


@pytest.mark.parametrize("wanted", ["", "*", ";q=1,,", "\xff", "x" * 5000, "," * 5000 + "de"])
async def test_who_names_no_language_of_ours_reads_the_usual_one(api: httpx.AsyncClient, wanted: str):
    page = await api.get("http://test/verify-email", headers={b"Accept-Language": wanted.encode("latin-1")})
    assert (page.status_code, '<html lang="en"' in page.text) == (200, True)


@dataclass
class Reader:
    """A person with a browser, and all that the browser asked for."""

    page: Page
    origin: str
    asked: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def open(self, path: str, token: str) -> None:
        """Follow a mail's link, in this tab."""
        await self.page.goto(f"{self.origin}/{path}#token={token}")
        await self.page.wait_for_url(f"{self.origin}/{path}")

    async def choose(self, password: str, again: str) -> None:
        for label, value in zip(await self.page.locator("input").all(), (password, again), strict=True):
            await label.fill(value)
        await self.page.get_by_role("button").click()

    async def is_told(self, part: str) -> None:
        await self.page.get_by_role("status").filter(has_text=part).wait_for(timeout=20_000)

    @property
    def sent(self) -> list[str]:
        """The paths to which something was posted."""
        return [request.url.removeprefix(self.origin) for request in self.asked if request.method == "POST"]


@pytest.fixture(scope="module")
async def origin(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Where the service listens, as an operator starts it."""
    async with served(database, tmp_path_factory.mktemp("served")) as port:
        yield f"http://localhost:{port}"


@pytest.fixture
async def reader(origin: str) -> AsyncIterator[Reader]:
    """Somebody with a new browser."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = Reader(await chromium.new_page(), origin)
        found.page.on("request", lambda request: found.asked.append(request))  # noqa: PLW0108 - it marks what it is given
        found.page.on("pageerror", lambda error: found.faults.append(str(error)))
        yield found
        await chromium.close()


@needs_chromium
async def test_a_forgotten_password_from_the_mail_to_the_next_login(
    reader: Reader, api: httpx.AsyncClient, ada: Visitor, post: Post
):
    await post.sent()
    await api.post("/auth/password/forgot", json={"email": ada.email})
    token = await post.token("reset-password")
    await reader.open("reset-password", token)
    await reader.choose(NEW_PASSWORD, "four green kettle")
    await reader.is_told("The two passwords are not the same.")
    assert reader.sent == []
    await reader.choose("password123", "password123")
    await reader.is_told("new_password: ")
    await reader.choose(NEW_PASSWORD, NEW_PASSWORD)
    await reader.is_told("Your password has been changed")
    assert await reader.page.locator("form").count() == 0
    assert reader.sent == ["/api/v1/auth/password/reset"] * 2
    assert [request.url for request in reader.asked if NEW_PASSWORD in request.url or "?" in request.url] == []
    assert reader.faults == []
    login = await api.post("/auth/login", json={"email": ada.email, "password": NEW_PASSWORD})
    assert login.status_code == 200
    assert await reader.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]


@needs_chromium
async def test_an_address_is_verified_by_a_click_and_no_sooner(
    reader: Reader, ada: Visitor, post: Post, owner: asyncpg.Connection
):
    query, token = "SELECT is_verified FROM users", await post.token("verify-email")
    await reader.open("verify-email", token)
    button = reader.page.get_by_role("button")
    await button.wait_for()
    assert (reader.sent, await owner.fetchval(query)) == ([], False)
    await button.click()
    await reader.is_told("Your e-mail address is confirmed.")
    assert await owner.fetchval(query) is True
    await reader.page.reload()
    await reader.is_told("This link is not complete.")
    # only the fragment is another: the browser itself would load nothing
    await reader.open("verify-email", token)
    await button.click()
    await reader.is_told("This link is not valid any more")
    assert reader.faults == []
    assert [request.url for request in reader.asked if token in request.url.partition("#")[0]] == []
