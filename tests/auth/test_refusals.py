"""What registering and signing in refuse by form."""

from typing import Any

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import Wrong, all_refused, bodies, choices, each, emails, texts, urls_refused
from tests.factories import World

GOOD = {"name": "John Doe", "email": "john@example.com", "password": "SecurePass123"}
PASSWORDS: tuple[Any, ...] = (
    "", "1234567", "\U0001f600" * 7, "x" * 129, "\U0001f600" * 129, "password", "PassWord", "12345678", "qwertyuiop",
    "John Doe", "john doe", "john@example.com", "JOHN@EXAMPLE.COM", 12345678, True, [], {},
)  # fmt: skip


async def test_register(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    await world.user(email="taken@example.org")
    cases = [*bodies(*GOOD), *texts("name", 200, required=True), *emails("email"), *choices("role")]
    cases += [*texts("mobile_no", 32), *texts("address", 500), *each("password", *PASSWORDS)]
    cases += [
        Wrong({"email": email}, code="EMAIL_ALREADY_REGISTERED")
        for email in ("taken@example.org", " TAKEN@EXAMPLE.org")
    ]
    cases += [Wrong({"role": role}, code="AUTHORIZATION_ERROR") for role in ("admin", "staff")]
    cases += [Wrong({"is_active": True}, ("is_active",)), Wrong({"is_verified": True}, ("is_verified",))]
    cases += [Wrong({"role": "Patient"}, ("role",))]
    await all_refused(api, owner, ("POST", "/auth/register"), {}, GOOD, cases)
    refusal(await api.post("/auth/register"), "VALIDATION_ERROR", "body")
    assert (await api.post("/auth/register", json=GOOD)).status_code == 200


async def test_login(api: httpx.AsyncClient, owner: asyncpg.Connection):
    good = {"email": GOOD["email"], "password": GOOD["password"]}
    assert (await api.post("/auth/register", json=GOOD)).status_code == 200
    cases = [*bodies(*good), *emails("email"), *each("password", "", "x" * 129, 1, True, [], {})]
    cases += [Wrong({"name": "John Doe"}, ("name",))]
    await all_refused(api, owner, ("POST", "/auth/login"), {}, good, cases)
    refusal(await api.post("/auth/login"), "VALIDATION_ERROR", "body")
    assert (await api.post("/auth/login", json=good)).status_code == 200


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.patient()).headers
    await urls_refused(api, owner, headers, {"/auth/profile?x=1": "x", "/auth/profile?token=a&token=b": "token"}, "GET")
    await urls_refused(api, owner, {}, {"/auth/login?email=a@example.org": "email", "/auth/register?x=1": "x"}, "POST")


TOKENS: tuple[Any, ...] = ("", "x" * 201, "x" * 10_240, 1, True, ["a"], {})
GIVEN: tuple[Any, ...] = ("", "x" * 129, 1, True, [], {})
NEW = "four green kettles"


async def test_passwords(api: httpx.AsyncClient, owner: asyncpg.Connection):
    signed_in = (await api.post("/auth/register", json=GOOD)).json()
    headers = {"Authorization": f"Bearer {signed_in['access_token']}"}
    change = {"current_password": GOOD["password"], "new_password": NEW}
    cases = [*bodies(*change), *each("current_password", *GIVEN), *each("new_password", *PASSWORDS)]
    await all_refused(api, owner, ("POST", "/auth/password/change"), headers, change, cases)
    proof = {"password": GOOD["password"]}
    cases = [*bodies(*proof), *each("password", *GIVEN), *each("code", "", "12345", "1" * 65, 123456, True, [], {})]
    await all_refused(api, owner, ("POST", "/auth/reauthenticate"), headers, proof, cases)
    forgotten = {"email": GOOD["email"]}
    cases = [*bodies(*forgotten), *emails("email"), *(Wrong({name: "x"}, (name,)) for name in ("url", "role", "to"))]
    await all_refused(api, owner, ("POST", "/auth/password/forgot"), {}, forgotten, cases)
    for path in ("change", "forgot", "reset"):
        refusal(await api.post(f"/auth/password/{path}", headers=headers), "VALIDATION_ERROR", "body")


async def test_mailed_tokens(api: httpx.AsyncClient, owner: asyncpg.Connection):
    reset = {"token": "x" * 43, "new_password": NEW}
    wrong_by_form = [
        password for password in PASSWORDS if not isinstance(password, str) or not 8 <= len(password) <= 128
    ]
    cases = [*bodies(*reset), *each("token", *TOKENS), *each("new_password", *wrong_by_form)]
    cases += [Wrong({}, ("token",)), Wrong({"email": "a@example.org"}, ("email",))]
    await all_refused(api, owner, ("POST", "/auth/password/reset"), {}, reset, cases)
    verify = {"token": "x" * 43}
    cases = [*bodies(*verify), *each("token", *TOKENS), Wrong({}, ("token",)), Wrong({"uid": 1}, ("uid",))]
    await all_refused(api, owner, ("POST", "/auth/email/verify"), {}, verify, cases)
    in_query = {f"/auth/{path}?token=x": "token" for path in ("password/reset", "email/verify", "email/verification")}
    headers = {"Authorization": f"Bearer {(await api.post('/auth/register', json=GOOD)).json()['access_token']}"}
    await urls_refused(api, owner, headers, in_query, "POST")
