"""Authenticator apps: enrolling one, and its codes, each of which works once and only in its time."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import httpx
import jwt
import pytest

from health_services.database.base import Base
from health_services.database.engine import Database
from health_services.database.resealing import reseal_some, sealed_tables
from health_services.database.sealing import KeyRing, Vault
from health_services.second_factors.repository import SecondFactorRepository
from tests.api.answers import refusal
from tests.factories import World
from tests.second_factors.conftest import STEP, Clock, Factors
from tests.servers import TestDatabase

WRONG = "The second factor is wrong, was used before, or came too late. Sign in again if it does not work."


def claims(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return found


def refused(answer: httpx.Response) -> None:
    """The one answer to everything that is wrong."""
    assert refusal(answer, "AUTHENTICATION_ERROR")["detail"] == WRONG


async def test_enrolling_and_signing_in(factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock):
    person = await world.patient()
    begun = (await factors.api.post("/auth/mfa/totp", headers=person.headers)).json()
    assert set(begun) == {"secret", "otpauth_uri", "qr_svg"}
    uri = urlsplit(begun["otpauth_uri"])
    assert (uri.scheme, uri.netloc, unquote(uri.path)) == ("otpauth", "totp", f"/Health Services:{person.email}")
    assert parse_qs(uri.query) == {"secret": [begun["secret"]], "issuer": ["Health Services"]}
    assert begun["qr_svg"].startswith("<svg ")
    assert len(begun["secret"]) == 32

    secret, codes = await factors.totp(person)
    assert len(set(codes)) == 10
    required = await factors.password(person)
    assert required["mfa_required"] is True
    assert required["methods"] == ["totp", "recovery_code"]
    answer = await factors.complete(required, clock.code(secret))
    assert claims(answer)["sub"] == str(person.user_id)
    row = await owner.fetchrow("SELECT client, address, methods FROM sessions ORDER BY id DESC LIMIT 1")
    assert tuple(row) == ("Firefox on Linux", "192.0.2.7", ["pwd", "otp", "mfa"])
    profile = await factors.api.get(
        "/auth/profile", headers={"Authorization": f"Bearer {answer.json()['access_token']}"}
    )
    assert profile.json()["id"] == person.user_id


async def test_a_secret_counts_only_once_its_code_was_shown(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    headers = person.headers
    refusal(await factors.api.post("/auth/mfa/totp/confirm", json={"code": "123456"}, headers=headers), "CONFLICT")
    begun = (await factors.api.post("/auth/mfa/totp", headers=headers)).json()
    other = clock.code("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    answer = await factors.api.post("/auth/mfa/totp/confirm", json={"code": other}, headers=headers)
    refusal(answer, "VALIDATION_ERROR", "code")
    assert (await factors.password(person))["methods"] == []
    refused(await factors.sign_in(person, clock.code(begun["secret"])))


async def test_another_app_takes_over_once_it_is_confirmed(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = (await factors.api.post("/auth/mfa/totp", headers=person.headers)).json()
    assert (await factors.sign_in(person, clock.code(secret))).status_code == 200
    new, new_codes = await factors.totp(person)
    assert new not in {secret, begun["secret"]}
    refused(await factors.sign_in(person, clock.code(secret)))
    refused(await factors.sign_in(person, codes[0]))
    assert (await factors.sign_in(person, clock.code(new))).status_code == 200
    assert (await factors.sign_in(person, new_codes[0])).status_code == 200


async def test_a_code_works_once(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    earlier = clock.code(secret, -1)  # which confirmed the app
    refused(await factors.sign_in(person, earlier))
    assert (await factors.sign_in(person, clock.code(secret))).status_code == 200
    refused(await factors.sign_in(person, clock.code(secret)))
    assert (await factors.sign_in(person, clock.code(secret, 1))).status_code == 200
    refused(await factors.sign_in(person, clock.code(secret)))


# An app may be one period behind or ahead, no more; the clock stands at the very beginning of a period, or the end.
@pytest.mark.parametrize("within", [timedelta(0), STEP - timedelta(microseconds=1)])
@pytest.mark.parametrize(("steps", "is_right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
async def test_a_code_is_good_for_its_period_and_its_neighbours(
    factors: Factors, world: World, clock: Clock, within: timedelta, steps: int, is_right: bool
):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    clock.now += 3 * STEP + within
    answer = await factors.sign_in(person, clock.code(secret, steps))
    assert answer.status_code == (200 if is_right else 401)


async def test_how_a_code_is_typed_does_not_matter(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    code = clock.code(secret)
    assert (await factors.sign_in(person, f" {code[:3]} {code[3:]} ")).status_code == 200
    assert (await factors.sign_in(person, codes[0].lower().replace("-", " "))).status_code == 200


async def test_a_recovery_code_works_once_and_its_owner_is_told(
    factors: Factors, world: World, owner: asyncpg.Connection, clock: Clock
):
    person = await world.patient()
    _, codes = await factors.totp(person)
    for used, code in enumerate(codes, start=1):
        clock.now += timedelta(seconds=1)
        assert (await factors.sign_in(person, code)).status_code == 200
        refused(await factors.sign_in(person, code))
        query = "SELECT data->'left' FROM notifications WHERE data->>'about' = 'recovery_code_used' ORDER BY id"
        assert [int(row[0]) for row in await owner.fetch(query)] == [10 - n for n in range(1, used + 1)]
    assert (await factors.password(person))["methods"] == ["totp"]


async def test_new_recovery_codes_end_those_before(factors: Factors, world: World):
    person, other = await world.patient(), await world.patient()
    _, codes = await factors.totp(person)
    _, others = await factors.totp(other)
    answer = await factors.api.post("/auth/mfa/recovery-codes", headers=person.headers)
    assert answer.status_code == 200
    new = answer.json()["recovery_codes"]
    assert not set(new) & set(codes)
    refused(await factors.sign_in(person, codes[0]))
    refused(await factors.sign_in(person, others[0]))
    assert (await factors.sign_in(person, new[0])).status_code == 200


async def test_removing_the_app_ends_its_codes_and_the_recovery_codes(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = await factors.password(person)
    answer = await factors.api.delete("/auth/mfa/totp", headers=person.headers)
    assert answer.status_code == 204
    refused(await factors.complete(begun, clock.code(secret)))
    refused(await factors.complete(begun, codes[0]))
    refusal(await factors.api.delete("/auth/mfa/totp", headers=person.headers), "RESOURCE_NOT_FOUND")
    refusal(await factors.api.post("/auth/mfa/recovery-codes", headers=person.headers), "CONFLICT")


async def test_nothing_stands_in_the_clear(factors: Factors, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    secret, codes = await factors.totp(person)
    begun = (await factors.api.post("/auth/mfa/totp", headers=person.headers)).json()
    required = await factors.password(person)
    tables = [row[0] for row in await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    kept = "".join([str(await owner.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")) for table in tables])
    assert person.email in kept
    for text in (secret, begun["secret"], required["mfa_token"], *codes, *(code.replace("-", "") for code in codes)):
        assert text not in kept
        assert text.encode().hex() not in kept
    sealed = await owner.fetchrow("SELECT secret, next_secret FROM totp_authenticators")
    assert all(value.startswith("sealed:test:") for value in sealed)


async def test_a_rotated_key_opens_what_it_sealed_anew(
    factors: Factors, world: World, owner: asyncpg.Connection, database: TestDatabase, clock: Clock
):
    person = await world.patient()
    secret, _ = await factors.totp(person)
    await factors.api.post("/auth/mfa/totp", headers=person.headers)
    vault = Vault(lambda: KeyRing({"new": bytes(range(32)), "test": bytes(32)}))
    (table,) = [table for table in sealed_tables(Base.metadata) if table.name == "totp_authenticators"]
    place = Database.connect(
        database.owner_url, role=None, pool_size=1, pool_timeout=10, timeouts={}, vault=vault, is_service=True
    )
    async with place.writing() as session, session.begin():
        batch = await reseal_some(session, table, "new", 0)
        kept = await SecondFactorRepository(session).totp(person.user_id)
    await place.close()
    assert batch is not None
    assert (batch.resealed, batch.unreadable) == (2, 0)
    assert kept is not None
    assert kept.secret == secret
    sealed = await owner.fetchrow("SELECT secret, next_secret FROM totp_authenticators")
    assert all(value.startswith("sealed:new:") for value in sealed)


async def test_everything_needs_a_fresh_proof(factors: Factors, world: World, clock: Clock):
    person = await world.patient()
    await factors.totp(person)
    headers = await world.sign_in(person.user_id, authenticated_at=clock.now - timedelta(minutes=10, seconds=1))
    for method, path, body in (
        ("POST", "/auth/mfa/totp", None),
        ("POST", "/auth/mfa/totp/confirm", {"code": "123456"}),
        ("DELETE", "/auth/mfa/totp", None),
        ("POST", "/auth/mfa/recovery-codes", None),
        ("POST", "/auth/passkeys/options", None),
        ("DELETE", "/auth/passkeys/1", None),
    ):
        answer = await factors.api.request(method, path, json=body, headers=headers)
        assert answer.status_code == 403, path
        assert answer.json()["error_code"] == "REAUTHENTICATION_REQUIRED", path
    assert (await factors.api.get("/auth/passkeys", headers=headers)).status_code == 200


async def test_a_session_of_before_ends_and_cannot_remove_the_new_factor(
    factors: Factors, world: World, api: httpx.AsyncClient
):
    person = await world.patient()
    stolen = await world.sign_in(person.user_id)
    await factors.totp(person)
    for method, path in (("DELETE", "/auth/mfa/totp"), ("POST", "/auth/mfa/recovery-codes"), ("GET", "/auth/profile")):
        assert (await api.request(method, path, headers=stolen)).status_code == 401, path
    assert (await api.get("/auth/profile", headers=person.headers)).status_code == 200
