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
