"""Registering and signing in, as a caller sees it."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import jwt
import pytest

from tests.api.answers import digest, instant, refusal, shape
from tests.factories import Person, World

USER = {
    "id", "name", "email", "role", "mobile_no", "address", "is_verified", "is_active", "created_at", "updated_at",
    "last_login", "patient_id", "doctor_id",
}  # fmt: skip
GUIDE = {
    "name": "John Doe",
    "email": "john@example.com",
    "password": "SecurePass123",
    "role": "patient",
    "mobile_no": "9876543210",
    "address": "123 Main St",
}


async def register(api: httpx.AsyncClient, by: Person | None = None, **changes: Any) -> httpx.Response:
    """The guide's registration with these changes."""
    return await api.post("/auth/register", json=GUIDE | changes, headers=by.headers if by else {})


async def login(api: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    """Sign in as the guide's example does."""
    body = {"email": GUIDE["email"], "password": GUIDE["password"]}
    return await api.post("/auth/login", json=body | changes)


def signed_in(answer: httpx.Response) -> dict[str, Any]:
    """The user of an answer that signs in; the token is his."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "csrf_token", "user"}
    assert (body["token_type"], body["expires_in"], body["csrf_token"]) == ("bearer", 15 * 60, None)
    assert len(body["refresh_token"]) > 40
    user = shape(body["user"], USER)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert jwt.get_unverified_header(body["access_token"])["alg"] == "HS256"
    assert (claims["sub"], claims["role"]) == (str(user["id"]), user["role"])
    assert claims["exp"] - claims["iat"] == body["expires_in"]
    assert claims["exp"] > datetime.now(UTC).timestamp() >= claims["iat"] - 1
    return user


async def test_the_guides_example(api: httpx.AsyncClient):
    answer = await register(api)
    user = signed_in(answer)
    sent = {name: value for name, value in GUIDE.items() if name != "password"}
    assert user | sent | {"is_verified": False, "is_active": True, "last_login": None, "doctor_id": None} == user
    assert "SecurePass123" not in answer.text
    assert "argon2" not in answer.text
    token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    profile = await api.get("/auth/profile", headers=token)
    assert (profile.status_code, profile.json()) == (200, user)
    by_query = await api.get("/auth/profile", params={"token": answer.json()["access_token"]})
    assert (by_query.status_code, by_query.json()) == (200, user)
    record = await api.get(f"/patients/{user['patient_id']}", headers=token)
    assert record.json()["user_id"] == user["id"]


async def test_only_name_email_and_password_are_required(api: httpx.AsyncClient):
    sent = {name: GUIDE[name] for name in ("name", "email", "password")}
    user = signed_in(await api.post("/auth/register", json=sent))
    assert (user["role"], user["mobile_no"], user["address"]) == ("patient", None, None)
    assert user["patient_id"] is not None


@pytest.mark.parametrize(
    "name",
    [
        "n" * 200,
        "\U0001f600" * 200,
        "\u05e9\u05dc\u05d5\u05dd \u0639\u0631\u0628\u064a",
        "Zo\u00eb \U0001f469\u200d\U0001f52c",
        "<script>\"'\\",
    ],
)
async def test_any_script_comes_back_unchanged(api: httpx.AsyncClient, name: str):
    user = signed_in(await register(api, name=f"  {name} ", mobile_no="5" * 32, address="\U0001f3e0" * 500))
    assert (user["name"], user["address"]) == (name, "\U0001f3e0" * 500)


async def test_an_email_is_one_whatever_its_case(api: httpx.AsyncClient, owner: asyncpg.Connection):
    assert signed_in(await register(api, email=" John@Example.COM "))["email"] == "john@example.com"
    before = await digest(owner)
    for email in ("john@example.com", "JOHN@EXAMPLE.COM", "John@example.com "):
        refusal(await register(api, email=email), "EMAIL_ALREADY_REGISTERED")
    assert await digest(owner) == before
    assert signed_in(await login(api, email="JOHN@example.com"))["name"] == "John Doe"


@pytest.mark.parametrize(
    "password",
    [
        "xkcd 936", "x" * 128, "\U0001f600\U0001f3fd" * 4, "\U0001f511" * 128, "        ",
        "nul\x00 \x07\x1b\x7f inside",
        "\u05e1\u05d9\u05e1\u05de\u05d4 \u05d0\u05e8\u05d5\u05db\u05d4", "aaaaaaab",
        " leading and trailing ", "SecurePass123",
    ],
)  # fmt: skip
async def test_any_password_of_8_to_128_characters_signs_in(api: httpx.AsyncClient, password: str):
    signed_in(await register(api, password=password))
    signed_in(await login(api, password=password))
    for other in (password[:-1], password + " ", password.swapcase() + "!"):
        if 0 < len(other) <= 128:
            refusal(await login(api, password=other), "AUTHENTICATION_ERROR")


@pytest.mark.parametrize("changes", [
    {"password": "password"}, {"password": "PASSWORD1"}, {"password": "iloveyou"}, {"password": "1234567890"},
    {"password": "JOHN DOE"}, {"password": "john@example.com"}, {"password": "John@Example.Com"},
    {"password": "short 7"}, {"password": "x" * 129},
])  # fmt: skip
async def test_passwords_that_anybody_would_guess(
    api: httpx.AsyncClient, owner: asyncpg.Connection, changes: dict[str, Any]
):
    before = await digest(owner)
    answer = await register(api, **changes)
    refusal(answer, "VALIDATION_ERROR", "password")
    assert changes["password"] == "password" or changes["password"] not in answer.text
    assert await digest(owner) == before


async def test_a_doctor_has_no_rights_before_his_record(api: httpx.AsyncClient, world: World):
    admin, clinic = await world.admin(), await world.clinic()
    answer = await register(api, role="doctor")
    user = signed_in(answer)
    assert (user["role"], user["patient_id"], user["doctor_id"]) == ("doctor", None, None)
    token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    slot = {"doctor_id": 1, "clinic_id": clinic, "slot_datetime": "2100-01-01T10:00:00Z"}
    refusal(await api.post("/slots", json=slot, headers=token), "RESOURCE_NOT_FOUND", "doctor_id")
    record = {"user_id": user["id"], "clinic_id": clinic, "specialty": "Surgery", "license_number": "L1"}
    made = await api.post("/doctors", json=record, headers=admin.headers)
    assert made.status_code == 201
    assert (await api.post("/slots", json=slot, headers=token)).status_code == 201
    assert (await api.get("/auth/profile", headers=token)).json()["doctor_id"] == made.json()["id"]


@pytest.mark.parametrize("role", ["admin", "staff"])
async def test_only_administrators_give_these_roles(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, role: str
):
    people = [None, await world.patient(), await world.doctor(), await world.staff()]
    admin = await world.admin()
    before = await digest(owner)
    for person in people:
        refusal(await register(api, person, role=role), "AUTHORIZATION_ERROR")
    assert await digest(owner) == before
    user = signed_in(await register(api, admin, role=role))
    assert (user["role"], user["patient_id"], user["doctor_id"]) == (role, None, None)


async def test_signing_in_sets_last_login(api: httpx.AsyncClient):
    assert signed_in(await register(api))["last_login"] is None
    before = datetime.now(UTC)
    first = signed_in(await login(api))
    assert before <= instant(first["last_login"]) <= datetime.now(UTC)
    second = signed_in(await login(api))
    assert instant(second["last_login"]) > instant(first["last_login"])
    refusal(await login(api, password="wrong password"), "AUTHENTICATION_ERROR")
    third = signed_in(await login(api))
    assert third == second | {"last_login": third["last_login"], "updated_at": third["updated_at"]}


async def test_whoever_cannot_sign_in_gets_one_answer(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    signed_in(await register(api))
    await world.user(email="nopassword@example.org", password_hash=None)
    await world.user(email="nobody@example.org", password_hash="!")
    await register(api, email="inactive@example.org")
    await owner.execute("UPDATE users SET is_active = false WHERE email = 'inactive@example.org'")
    before = await digest(owner)
    answers = [
        await login(api, email="unknown@example.org"),
        await login(api, password="SecurePass124"),
        await login(api, email="inactive@example.org"),
        await login(api, email="inactive@example.org", password="SecurePass124"),
        await login(api, email="nopassword@example.org"),
        await login(api, email="nobody@example.org", password="!"),
    ]
    bodies = [refusal(answer, "AUTHENTICATION_ERROR") | {"timestamp": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert len({tuple(sorted(set(answer.headers) - {"x-request-id"})) for answer in answers}) == 1
    assert await digest(owner) == before


async def test_an_inactive_account_ends_at_once(api: httpx.AsyncClient, owner: asyncpg.Connection):
    token = {"Authorization": f"Bearer {(await register(api)).json()['access_token']}"}
    assert (await api.get("/auth/profile", headers=token)).status_code == 200
    await owner.execute("UPDATE users SET is_active = false")
    refusal(await api.get("/auth/profile", headers=token), "AUTHENTICATION_ERROR")
    await owner.execute("UPDATE users SET is_active = true")
    refusal(await api.get("/auth/profile", headers=token), "AUTHENTICATION_ERROR")
    signed_in(await login(api))
