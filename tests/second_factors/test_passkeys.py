"""Passkeys: making and using them, and everything that one could pretend."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.second_factors.relying_party import RelyingParty
from tests.api.answers import instant, refusal
from tests.factories import World
from tests.second_factors.authenticator import (
    BACKED_UP,
    BACKUP_ELIGIBLE,
    PRESENT,
    VERIFIED,
    Device,
    base64url,
)
from tests.second_factors.conftest import Clock, Factors
from tests.second_factors.test_totp import claims, refused

UNKNOWN = "This passkey is not known here, or came too late."


def not_let_in(answer: httpx.Response) -> None:
    """The one answer to every passkey that does not let in."""
    assert refusal(answer, "AUTHENTICATION_ERROR")["detail"] == UNKNOWN


async def test_making_one_and_signing_in_with_nothing_else(factors: Factors, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    options = (await factors.api.post("/auth/passkeys/options", headers=person.headers)).json()
    assert options["rp"] == {"id": "localhost", "name": "Health Services"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert (options["attestation"], options["excludeCredentials"]) == ("none", [])
    assert person.email not in options["user"]["id"]

    device = await factors.passkey(person, name="  Blue phone ")
    (shown,) = (await factors.api.get("/auth/passkeys", headers=person.headers)).json()
    assert set(shown) == {"id", "name", "is_backed_up", "created_at", "last_used_at"}
    assert (shown["name"], shown["is_backed_up"], shown["last_used_at"]) == ("Blue phone", False, None)
    answer = await factors.by_passkey(device)
    assert claims(answer)["sub"] == str(person.user_id)
    assert await owner.fetchval("SELECT methods FROM sessions ORDER BY id DESC LIMIT 1") == ["pop", "user", "mfa"]
    (shown,) = (await factors.api.get("/auth/passkeys", headers=person.headers)).json()
    assert instant(shown["last_used_at"]) == factors.clock.now
    assert await owner.fetchval("SELECT transports FROM passkeys") == ["internal"]


async def test_options_name_what_the_person_has_already(factors: Factors, world: World):
    person = await world.patient()
    first, second = await factors.passkey(person), await factors.passkey(person)
    options = (await factors.api.post("/auth/passkeys/options", headers=person.headers)).json()
    known = [credential["id"] for credential in options["excludeCredentials"]]
    assert known == [base64url(first.credential_id), base64url(second.credential_id)]


async def test_options_to_sign_in_tell_nothing_of_anybody(factors: Factors, world: World, owner: asyncpg.Connection):
    before = await factors.request_options()
    await factors.passkey(await world.patient())
    options = await factors.request_options()
    assert {**options, "challenge": ""} == {**before, "challenge": ""}
    assert options == {
        "challenge": options["challenge"],
        "timeout": 300_000,
        "rpId": "localhost",
        "allowCredentials": [],
        "userVerification": "required",
    }
    assert options["challenge"] != before["challenge"]
    assert await owner.fetchval("SELECT count(*) FROM one_time_tokens WHERE user_id IS NULL") == 2


async def test_as_second_factor(factors: Factors, world: World, owner: asyncpg.Connection):
    person, other = await world.patient(), await world.patient()
    device, others = await factors.passkey(person), await factors.passkey(other)
    begun = await factors.password(person)
    assert begun["methods"] == ["passkey"]
    refused(await factors.complete(begun, passkey=others.get(await factors.request_options())))
    answer = await factors.complete(begun, passkey=device.get(await factors.request_options()))
    assert claims(answer)["sub"] == str(person.user_id)
    methods = await owner.fetchval("SELECT methods FROM sessions ORDER BY id DESC LIMIT 1")
    assert methods == ["pwd", "pop", "user", "mfa"]


PRETENCES: dict[str, Callable[[Device], Device]] = {
    "nobody unlocked it": lambda device: replace(device, flags=PRESENT),
    "nobody was there": lambda device: replace(device, flags=VERIFIED),
    "another site's page": lambda device: replace(device, origin="http://localhost:8001"),
    "the same page without TLS": lambda device: replace(device, origin="https://localhost:8000"),
    "another site": lambda device: replace(device, host="example.org"),
    "a page in another's frame": lambda device: replace(device, cross_origin=True),
    "another key": lambda device: replace(device, key=Device().key),
    "an unknown passkey": lambda device: replace(device, credential_id=bytes(32)),
    "another account": lambda device: replace(device, handle=base64url((99).to_bytes(8, "big"))),
    "no account": lambda device: replace(device, handle=""),
    "a count that has not risen": lambda device: replace(device, sign_count=device.sign_count - 1),
    "a count that has fallen to nothing": lambda device: replace(device, sign_count=-1),
}


@pytest.mark.parametrize("pretence", PRETENCES)
async def test_a_pretence_does_not_let_in(factors: Factors, world: World, pretence: str):
    person = await world.patient()
    device = await factors.passkey(person, Device(sign_count=5))
    assert (await factors.by_passkey(device)).status_code == 200
    credential = PRETENCES[pretence](device).get(await factors.request_options())
    if not credential["response"]["userHandle"]:
        del credential["response"]["userHandle"]
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": credential}))
    begun = await factors.password(person)
    credential = PRETENCES[pretence](device).get(await factors.request_options())
    if not credential["response"]["userHandle"]:
        del credential["response"]["userHandle"]
    refused(await factors.complete(begun, passkey=credential))
    device.sign_count += 2
    assert (await factors.by_passkey(device)).status_code == 200


@pytest.mark.parametrize(
    "pretence",
    ["nobody unlocked it", "nobody was there", "another site's page", "another site", "a page in another's frame"],
)
async def test_such_a_passkey_is_not_kept(factors: Factors, world: World, owner: asyncpg.Connection, pretence: str):
    person = await world.patient()
    answer = await factors.register(person, PRETENCES[pretence](Device()))
    refusal(answer, "VALIDATION_ERROR", "credential")
    assert await owner.fetchval("SELECT count(*) FROM passkeys") == 0


async def test_a_device_that_does_not_count_is_fine(factors: Factors, world: World):
    person = await world.patient()
    device = await factors.passkey(person, Device(sign_count=0, flags=PRESENT | VERIFIED | BACKUP_ELIGIBLE | BACKED_UP))
    for _ in range(2):
        device.sign_count = -1
        assert (await factors.by_passkey(device)).status_code == 200
    (shown,) = (await factors.api.get("/auth/passkeys", headers=person.headers)).json()
    assert shown["is_backed_up"] is True


async def test_a_challenge_is_answered_once_and_only_for_a_while(
    factors: Factors, world: World, owner: asyncpg.Connection
):
    person = await world.patient()
    device = await factors.passkey(person)
    login = {"credential": device.get(await factors.request_options())}
    assert (await factors.api.post("/auth/login/passkey", json=login)).status_code == 200
    not_let_in(await factors.api.post("/auth/login/passkey", json=login))
    options = await factors.request_options()
    wrong = replace(device, key=Device().key).get(options)
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": wrong}))
    device.sign_count += 5
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": device.get(options)}))
    options = await factors.request_options()
    await owner.execute("UPDATE one_time_tokens SET expires_at = now() WHERE used_at IS NULL")
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": device.get(options)}))
    own = {"challenge": base64url(b"a challenge of one's own making.")}
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": device.get(own)}))


async def test_challenges_of_making_and_using_are_not_exchanged_nor_those_of_two_people(
    factors: Factors, world: World, owner: asyncpg.Connection
):
    person, other = await world.patient(), await world.patient()
    device = await factors.passkey(person)
    making = (await factors.api.post("/auth/passkeys/options", headers=person.headers)).json()
    not_let_in(await factors.api.post("/auth/login/passkey", json={"credential": device.get(making)}))
    using = making | {"challenge": (await factors.request_options())["challenge"]}
    for headers, options in ((other.headers, making), (person.headers, using)):
        body = {"name": "x", "credential": Device().create(options)}
        refusal(await factors.api.post("/auth/passkeys", json=body, headers=headers), "VALIDATION_ERROR", "credential")
    assert await owner.fetchval("SELECT count(*) FROM passkeys") == 1


async def test_one_passkey_is_one_account_s(factors: Factors, world: World, owner: asyncpg.Connection):
    person, other = await world.patient(), await world.patient()
    device = await factors.passkey(person)
    refusal(await factors.register(other, device), "CONFLICT")
    assert await owner.fetchval("SELECT array_agg(user_id) FROM passkeys") == [person.user_id]


async def test_twenty_are_enough(factors: Factors, world: World):
    person = await world.patient()
    for _ in range(20):
        await factors.passkey(person)
    refusal(await factors.api.post("/auth/passkeys/options", headers=person.headers), "CONFLICT")


async def test_a_removed_one_does_not_let_in(factors: Factors, world: World, owner: asyncpg.Connection):
    person, other = await world.patient(), await world.patient()
    device = await factors.passkey(person)
    (passkey,) = (await factors.api.get("/auth/passkeys", headers=person.headers)).json()
    path = f"/auth/passkeys/{passkey['id']}"
    refusal(await factors.api.delete(path, headers=other.headers), "RESOURCE_NOT_FOUND")
    assert (await factors.api.get("/auth/passkeys", headers=other.headers)).json() == []
    answer = await factors.api.post("/auth/mfa/recovery-codes", headers=person.headers)
    assert answer.status_code == 200
    assert (await factors.password(person))["methods"] == ["recovery_code", "passkey"]
    assert (await factors.api.delete(path, headers=person.headers)).status_code == 204
    not_let_in(await factors.by_passkey(device))
    assert (await factors.password(person))["methods"] == []
    assert await owner.fetchval("SELECT count(*) FROM recovery_codes") == 0


async def test_who_may_not_sign_in_does_not_by_passkey(factors: Factors, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    device = await factors.passkey(person)
    await owner.execute("UPDATE users SET is_active = false")
    not_let_in(await factors.by_passkey(device))


async def test_the_refresh_token_goes_where_it_is_wanted(factors: Factors, world: World, clock: Clock):
    device = await factors.passkey(await world.patient())
    plain = (await factors.by_passkey(device)).json()
    assert plain["refresh_token"].startswith("hsr_")
    answer = await factors.by_passkey(device, refresh_in="cookie")
    assert answer.json()["refresh_token"] is None
    assert answer.json()["csrf_token"]
    assert "__Host-hs_refresh=hsr_" in answer.headers["set-cookie"]


def party(app: FastAPI, **settings: Any) -> RelyingParty:
    return RelyingParty.of(app.state.settings.model_copy(update=settings))


def test_the_site_is_the_public_url_s(app: FastAPI):
    origins = ["https://app.health.example.org", "https://nothealth.example.org", "http://localhost:3000"]
    found = party(
        app, public_url="https://Health.Example.org:443/portal", cors_origins=origins, mail_from="City <a@example.org>"
    )
    assert (found.host, found.name) == ("health.example.org", "City")
    assert found.origins == ("https://health.example.org", "https://app.health.example.org")
    found = party(app, public_url=None, cors_origins=["http://localhost:3000"])
    assert (found.host, found.origins) == ("localhost", ("http://localhost:8000", "http://localhost:3000"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://192.0.2.1", "http://[::1]:8000"])
async def test_an_address_is_no_site(
    factors: Factors, world: World, app: FastAPI, monkeypatch: pytest.MonkeyPatch, url: str
):
    person = await world.patient()
    monkeypatch.setitem(app.state._state, "settings", app.state.settings.model_copy(update={"public_url": url}))
    for path in ("/auth/passkeys/options", "/auth/login/passkey/options"):
        answer = await factors.api.post(path, headers=person.headers)
        assert "http://localhost" in refusal(answer, "CONFLICT")["detail"]
