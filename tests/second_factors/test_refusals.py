"""What the doors of second factors refuse by form; whatever is sent, nothing crashes."""

import copy
from typing import Any

import asyncpg
import cbor2
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_services.second_factors.relying_party import RelyingParty, UnprovenError
from tests.api.refusals import MISSING, Wrong, all_refused, bad_ids, bodies, each, texts, urls_refused
from tests.factories import World
from tests.second_factors.authenticator import ORIGIN, Device, base64url
from tests.second_factors.conftest import Factors

OPTIONS = {"challenge": base64url(bytes(32)), "user": {"id": base64url(bytes(8))}}
MADE, USED = Device().create(OPTIONS), Device(handle=base64url(bytes(8))).get(OPTIONS)
NO_TEXTS: tuple[Any, ...] = (1, True, [], {})
NO_BASE64URL: tuple[Any, ...] = ("", " ", "a b", "\u00e4", "a+b/", "====", "a\x00b", *NO_TEXTS)
NO_CODES: tuple[Any, ...] = ("", "12345", "1" * 65, 123456, True, [], {})


def changed(credential: dict[str, Any], member: str, value: Any) -> dict[str, Any]:
    """The credential with another value of a member, or of its response's."""
    other = copy.deepcopy(credential)
    place = other["response"] if member in other["response"] else other
    place[member] = value
    if value is MISSING:
        del place[member]
    return other


def credentials(at: str, credential: dict[str, Any]) -> list[Wrong]:
    """What is no credential by its form, as the member `at` of a body."""
    cases = each(at, "text", *NO_TEXTS[:-1])
    cases += [Wrong({at: {}}, tuple(f"{at}.{name}" for name in ("id", "rawId", "type", "response")))]
    cases += [Wrong({at: changed(credential, "type", value)}, (f"{at}.type",)) for value in ("", "x", 1, None, MISSING)]
    for member in ("id", "rawId"):
        wrong = [*NO_BASE64URL, "A" * 1369, None, MISSING]
        cases += [Wrong({at: changed(credential, member, value)}, (f"{at}.{member}",)) for value in wrong]
    for member in set(credential["response"]) - {"transports"}:
        wrong = [*NO_BASE64URL, "A" * 32_769, *([] if member == "userHandle" else [None, MISSING])]
        cases += [Wrong({at: changed(credential, member, value)}, (f"{at}.response.{member}",)) for value in wrong]
    return cases


async def test_confirming_an_app(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    await api.post("/auth/mfa/totp", headers=person.headers)
    cases = [*bodies("code"), *each("code", *NO_CODES, "not a code", "\u0661\u0662\u0663\u0664\u0665\u0666", "-" * 6)]
    await all_refused(api, owner, ("POST", "/auth/mfa/totp/confirm"), person.headers, {"code": "000000"}, cases)


async def test_completing_a_login(api: httpx.AsyncClient, owner: asyncpg.Connection):
    good = {"mfa_token": "x" * 43, "code": "000000"}
    cases = [*bodies("mfa_token"), *each("mfa_token", "", "x" * 129, *NO_TEXTS), *each("code", *NO_CODES)]
    cases += [
        Wrong({"code": None}, ("body",)),
        Wrong({"code": MISSING}, ("body",)),
        Wrong({"passkey": USED}, ("body",)),
    ]
    with_passkey = [Wrong({"code": MISSING} | case.changes, case.fields) for case in credentials("passkey", USED)]
    await all_refused(api, owner, ("POST", "/auth/login/mfa"), {}, good, [*cases, *with_passkey])


async def test_signing_in_with_a_passkey(api: httpx.AsyncClient, owner: asyncpg.Connection):
    cases = [*bodies("credential"), *credentials("credential", USED), *each("refresh_in", "", "query", None, 1)]
    await all_refused(api, owner, ("POST", "/auth/login/passkey"), {}, {"credential": USED}, cases)


async def test_keeping_a_passkey(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    transports = [
        Wrong({"credential": changed(MADE, "transports", value)}, fields)
        for value, fields in (
            ("usb", ("credential.response.transports",)),
            (["x"] * 11, ("credential.response.transports",)),
            (["usb", "x" * 33, 1], ("credential.response.transports[1]", "credential.response.transports[2]")),
        )
    ]
    cases = [*bodies("name", "credential"), *texts("name", 100, required=True), *credentials("credential", MADE)]
    good = {"name": "My phone", "credential": MADE}
    # what is well-formed, but answers nothing that we asked
    cases += [*transports, Wrong({}, ("credential",)), Wrong({"credential": MADE | {"rawId": "AAAA"}}, ("credential",))]
    await all_refused(api, owner, ("POST", "/auth/passkeys"), person.headers, good, cases)


async def test_ids(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin = await world.admin()
    await urls_refused(api, owner, admin.headers, bad_ids("/auth/passkeys/{}", "passkey_id"), "DELETE")
    await urls_refused(api, owner, admin.headers, bad_ids("/users/{}/second-factors", "user_id"), "DELETE")


async def test_what_browsers_add_is_left_out(factors: Factors, world: World):
    person = await world.patient()
    options = (await factors.api.post("/auth/passkeys/options", headers=person.headers)).json()
    device = Device()
    credential = device.create(options)
    credential["response"] |= {"publicKeyAlgorithm": -7, "publicKey": "AAAA", "of_the_future": {}}
    body = {"name": "My phone", "credential": credential | {"of_the_future": 1}}
    assert (await factors.api.post("/auth/passkeys", json=body, headers=person.headers)).status_code == 201
    assert (await factors.by_passkey(device)).status_code == 200


PARTY = RelyingParty("Health Services", "localhost", (ORIGIN,))
BOMBS = (b"", b"\x81" * 24_000, b"\xa1" * 24_000, b"\x5b\x7f" + b"\xff" * 7, b"\x9f" * 24_000, b"\xd8\x1c" * 12_000)


def made_of(attestation: bytes) -> dict[str, Any]:
    return changed(Device().create(OPTIONS), "attestationObject", base64url(attestation))


def test_a_whole_one_is_kept():
    assert PARTY.verify_creation(Device().create(OPTIONS)).sign_count == 1


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:4].hex())
def test_nested_and_endless_ones_are_refused(bomb: bytes):
    with pytest.raises(UnprovenError):
        PARTY.verify_creation(made_of(bomb))
    with pytest.raises(UnprovenError):
        PARTY.verify_creation(made_of(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": bytes(37) + bomb})))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(-8, 8) | st.text(max_size=8), inner),
    max_leaves=6,
)
FORMATS = st.sampled_from(["none", "packed", "tpm", "apple", "fido-u2f", "android-key", "android-safetynet"])


@given(fmt=FORMATS | VALUES, statement=VALUES, key=VALUES, cut=st.integers(0, 300))
def test_no_attestation_crashes(fmt: Any, statement: Any, key: Any, cut: int):
    data = Device()._data(0x40) + bytes(16) + (4).to_bytes(2, "big") + b"four" + cbor2.dumps(key)
    content = cbor2.dumps({"fmt": fmt, "attStmt": statement, "authData": data[:cut] if cut < 200 else data})
    with pytest.raises(UnprovenError):
        PARTY.verify_creation(made_of(content))


@given(st.binary(max_size=60) | VALUES.map(cbor2.dumps))
def test_no_client_data_crashes(raw: bytes):
    with pytest.raises(UnprovenError):
        PARTY.verify_creation(changed(MADE, "clientDataJSON", base64url(raw)))
