"""Passkeys in a real browser: Chromium with a virtual authenticator, a page of ours, and `health-services serve`."""

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from playwright.async_api import CDPSession, Page, async_playwright

from tests.factories import Person, World
from tests.races.servers import served
from tests.servers import TestDatabase

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt install chromium)")

# What a web application does; `change` is what one does that would rather not be asked to verify its user.
SCRIPT = """
async function post(path, body, token) {
    const headers = {'Content-Type': 'application/json'};
    if (token) headers['Authorization'] = token;
    const answer = await fetch('/api/v1' + path, {method: 'POST', headers, body: JSON.stringify(body)});
    return {status: answer.status, body: await answer.json()};
}
async function register(token, change = {}) {
    const options = (await post('/auth/passkeys/options', undefined, token)).body;
    Object.assign(options.authenticatorSelection, change);
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    const credential = (await navigator.credentials.create({publicKey})).toJSON();
    return await post('/auth/passkeys', {name: 'Chromium', credential}, token);
}
async function use(change = {}) {
    const options = (await post('/auth/login/passkey/options')).body;
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(Object.assign(options, change));
    return (await navigator.credentials.get({publicKey})).toJSON();
}
async function login(change) {
    return await post('/auth/login/passkey', {credential: await use(change)});
}
async function tried(work) {
    try { return await work(); } catch (error) { return {status: 0, body: error.name}; }
}
"""
UNVERIFIED: dict[str, Any] = {"userVerification": "discouraged"}
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@dataclass(frozen=True)
class Browser:
    """A page, and the authenticator that is built into its device."""

    page: Page
    devtools: CDPSession
    authenticator: str

    async def run(self, call: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.page.evaluate(f"tried(() => {call})")
        return found

    async def register(self, person: Person, **change: Any) -> dict[str, Any]:
        token = json.dumps(person.headers["Authorization"])
        return await self.run(f"register({token}, {json.dumps(change)})")

    async def verify_users(self, is_verified: bool) -> None:
        """Whether whoever is asked by the device can unlock it."""
        values = {"authenticatorId": self.authenticator, "isUserVerified": is_verified}
        await self.devtools.send("WebAuthn.setUserVerified", values)


@pytest.fixture(scope="module")
async def port(database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """Where the service listens, as an operator starts it."""
    async with served(database, tmp_path_factory.mktemp("served")) as found:
        yield found


async def _opened(page: Page, origin: str) -> Browser:
    html = f"<!doctype html><title>A page</title><script>{SCRIPT}</script>"
    await page.route(f"{origin}/", lambda route: route.fulfill(body=html, content_type="text/html"))
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    await page.goto(f"{origin}/")
    return Browser(page, devtools, added["authenticatorId"])


@pytest.fixture
async def browser(port: int) -> AsyncIterator[Browser]:
    """A new browser on the page."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield await _opened(await chromium.new_page(), f"http://localhost:{port}")
        await chromium.close()


async def test_registering_and_signing_in(browser: Browser, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    made = await browser.register(person)
    assert made["status"] == 201, made
    assert made["body"]["name"] == "Chromium"
    again = await browser.register(person)
    assert again == {"status": 0, "body": "InvalidStateError"}, "this device has one of this account already"
    for _ in range(2):
        answer = await browser.run("login()")
        assert answer["status"] == 200, answer
        assert answer["body"]["user"]["id"] == person.user_id
    assert await owner.fetchval("SELECT sign_count FROM passkeys") >= 2
    assert await owner.fetchval("SELECT methods FROM sessions ORDER BY id DESC LIMIT 1") == ["pop", "user", "mfa"]


async def test_it_knows_which_account_it_is_for(browser: Browser, world: World):
    first, second = await world.patient(), await world.patient()
    await browser.register(first)
    assert (await browser.run("login()"))["body"]["user"]["id"] == first.user_id
    await browser.devtools.send("WebAuthn.clearCredentials", {"authenticatorId": browser.authenticator})
    await browser.register(second)
    assert (await browser.run("login()"))["body"]["user"]["id"] == second.user_id


async def test_whoever_cannot_unlock_the_device_is_refused(browser: Browser, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    assert (await browser.register(person))["status"] == 201
    await browser.verify_users(False)
    assert await browser.run("login()") == {"status": 0, "body": "NotAllowedError"}, "by the browser"
    by_us = await browser.run(f"login({json.dumps(UNVERIFIED)})")
    assert (by_us["status"], by_us["body"]["error_code"]) == (401, "AUTHENTICATION_ERROR")
    await browser.verify_users(True)
    assert (await browser.run("login()"))["status"] == 200
    assert await owner.fetchval("SELECT count(*) FROM passkeys") == 1


async def test_a_device_that_asks_nobody_gets_no_passkey_kept(
    browser: Browser, world: World, owner: asyncpg.Connection
):
    await browser.devtools.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": browser.authenticator})
    plain = AUTHENTICATOR | {"transport": "usb", "hasUserVerification": False, "isUserVerified": False}
    await browser.devtools.send("WebAuthn.addVirtualAuthenticator", {"options": plain})
    person = await world.patient()
    assert await browser.register(person) == {"status": 0, "body": "NotAllowedError"}, "by the browser"
    careless = UNVERIFIED | {"residentKey": "discouraged", "requireResidentKey": False}
    by_us = await browser.register(person, **careless)
    assert (by_us["status"], by_us["body"]["error_code"]) == (400, "VALIDATION_ERROR")
    assert await owner.fetchval("SELECT count(*) FROM passkeys") == 0


async def test_a_page_of_another_origin_is_refused(browser: Browser, world: World, port: int):
    """Another port of the same host is another origin: the passkey works there, and its answer is not taken."""
    person = await world.patient()
    assert (await browser.register(person))["status"] == 201
    credential = await _from_another_port(browser, port)
    answer = await browser.run(f"post('/auth/login/passkey', {{credential: {json.dumps(credential)}}})")
    assert (answer["status"], answer["body"]["error_code"]) == (401, "AUTHENTICATION_ERROR")


async def _from_another_port(browser: Browser, port: int) -> dict[str, Any]:
    options = (await browser.run("post('/auth/login/passkey/options')"))["body"]
    other = f"http://localhost:{port - 1}/"
    html = f"<!doctype html><title>Another page</title><script>{SCRIPT}</script>"
    await browser.page.route(other, lambda route: route.fulfill(body=html, content_type="text/html"))
    await browser.page.goto(other)
    parsed = f"PublicKeyCredential.parseRequestOptionsFromJSON({json.dumps(options)})"
    call = f"navigator.credentials.get({{publicKey: {parsed}}}).then(credential => credential.toJSON())"
    credential: dict[str, Any] = await browser.page.evaluate(call)
    await browser.page.goto(f"http://localhost:{port}/")
    return credential
