"""Tokens: only those that we signed, that have not ended, and whose account is as it was."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.access.tokens import HS256, claims, session_of, signed, signing_input, with_signature
from tests.factories import Person, World

SECONDS_PER_DAY = 86_400
OTHER_KEY = b"a secret of somebody else, long enough"
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = _RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _rs256(person: Person) -> str:
    header, said = {"alg": "RS256", "typ": "JWT"}, claims(person)
    text = signing_input(said, header)
    return with_signature(said, header, _RSA.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


def _changed(person: Person) -> str:
    """The claims of one token over the signature of another."""
    _, _, signature = signed(claims(person)).rpartition(".")
    return f"{signing_input(claims(person, role='admin'))}.{signature}"


def _alg(name: str, digest: str = "sha256") -> Callable[[Person], str]:
    return lambda person: signed(claims(person), {"alg": name, "typ": "JWT"}, digest=digest)


def _says(**changes: Any) -> Callable[[Person], str]:
    return lambda person: signed(claims(person, **changes))


def _subject(change: Callable[[int], Any]) -> Callable[[Person], str]:
    return lambda person: signed(claims(person, sub=change(person.user_id)))


def _header(**more: Any) -> Callable[[Person], str]:
    """Signed with another key, which the token's own header offers."""
    return lambda person: signed(claims(person), HS256 | more, key=OTHER_KEY)


NOT_OURS: dict[str, Callable[[Person], str]] = {
    "no signature, alg none": lambda person: signing_input(claims(person), {"alg": "none"}) + ".",
    "no signature, alg NoNe": lambda person: signing_input(claims(person), {"alg": "NoNe"}) + ".",
    "no signature, alg HS256": lambda person: signing_input(claims(person)) + ".",
    "alg none over a right signature": _alg("none"),
    "another key": lambda person: signed(claims(person), key=OTHER_KEY),
    "an empty key": lambda person: signed(claims(person), key=b"\0"),
    "HS384": _alg("HS384", "sha384"),
    "HS512": _alg("HS512", "sha512"),
    "HS384 that says HS256": _alg("HS256", "sha384"),
    "no algorithm": lambda person: signed(claims(person), {"typ": "JWT"}),
    "RS256": _rs256,
    "RS256, the public key as the secret": lambda person: signed(claims(person), {"alg": "RS256"}, key=PUBLIC_PEM),
    "HS256, a public key as the secret": lambda person: signed(claims(person), key=PUBLIC_PEM),
    "changed claims": _changed,
    "kid that is a path": _header(kid="../../../../dev/null"),
    "kid that is SQL": _header(kid="' UNION SELECT 'a secret of somebody else, long enough"),
    "jku": _header(jku="https://keys.example.org/jwks.json"),
    "x5u": _header(x5u="https://keys.example.org/key.pem"),
    "jwk": _header(jwk={"kty": "oct", "k": "YSBzZWNyZXQgb2Ygc29tZWJvZHkgZWxzZSwgbG9uZyBlbm91Z2g"}),
    "crit that we do not know": lambda person: signed(claims(person), HS256 | {"crit": ["exp2"], "exp2": 1}),
    "expired": _says(iat=int(time.time()) - SECONDS_PER_DAY, exp=int(time.time()) - 1),
    "from the future": _says(iat=int(time.time()) + SECONDS_PER_DAY, exp=int(time.time()) + 2 * SECONDS_PER_DAY),
    "not before tomorrow": _says(nbf=int(time.time()) + SECONDS_PER_DAY),
    "exp that is a text": _says(exp="never"),
    "exp that is a list": _says(exp=[9_999_999_999]),
    "iat that is a text": _says(iat="yesterday"),
    "no exp": _says(exp=None),
    "no sub": _says(sub=None),
    "no iat": _says(iat=None),
    "no jti": _says(jti=None),
    "no typ": _says(typ=None),
    "typ of a refresh token": _says(typ="refresh"),
    "typ that is a list": _says(typ=["access"]),
    "no aud": _says(aud=None),
    "for others": _says(aud="another-service"),
    "for others in a list": _says(aud=["another-service"]),
    "no sid": _says(sid=None),
    "sid of no session": _says(sid=999_999_999),
    "sid zero": _says(sid=0),
    "sid negative": _says(sid=-1),
    "sid true": _says(sid=True),
    "sid that is a text": lambda person: signed(claims(person, sid=str(session_of(person)))),
    "sid with a comma": lambda person: signed(claims(person, sid=float(session_of(person)))),
    "sid beyond bigint": _says(sid=2**63),
    "unknown user": _subject(lambda _: "999999999"),
    "sub that is a number": _subject(lambda user_id: user_id),
    "sub that is true": _subject(lambda _: True),
    "sub that is a list": _subject(lambda user_id: [str(user_id)]),
    "sub zero": _subject(lambda _: "0"),
    "sub negative": _subject(lambda user_id: f"-{user_id}"),
    "sub with a sign": _subject(lambda user_id: f"+{user_id}"),
    "sub with space": _subject(lambda user_id: f" {user_id}"),
    "sub with a comma": _subject(lambda user_id: f"{user_id}.0"),
    "sub with an underscore": _subject(lambda user_id: f"0_{user_id}"),
    "sub empty": _subject(lambda _: ""),
    "sub a word": _subject(lambda _: "admin"),
    "sub SQL": _subject(lambda user_id: f"{user_id} OR 1=1"),
    "sub in other digits": _subject(lambda user_id: "".join(chr(0x0660 + int(digit)) for digit in str(user_id))),
    "sub beyond bigint": _subject(lambda _: str(2**63)),
    "sub of 5000 digits": _subject(lambda _: "9" * 5000),
    "claims that are a list": lambda person: signed([str(person.user_id)]),
    "claims that are a text": lambda person: signed(str(person.user_id)),
    "garbage": lambda _: "garbage",
    "dots": lambda _: "...",
    "one dot": lambda _: ".",
    "two parts": lambda person: signing_input(claims(person)),
    "four parts": lambda person: signed(claims(person)) + ".x",
    "not base64": lambda person: "!!!." + signed(claims(person)).partition(".")[2],
    "letters beyond ASCII": lambda person: signed(claims(person)) + "é",
    "two tokens": lambda person: f"{signed(claims(person))} {signed(claims(person))}",
    "two tokens with a comma": lambda person: f"{signed(claims(person))}, {signed(claims(person))}",
    "quoted": lambda person: f'"{signed(claims(person))}"',
}


def _is_refused(answer: httpx.Response) -> bool:
    is_problem = answer.headers["content-type"] == "application/problem+json"
    code = answer.json()["error_code"] if is_problem else None
    challenge = answer.headers.get("www-authenticate")
    return (answer.status_code, code, challenge) == (401, "AUTHENTICATION_ERROR", "Bearer")


async def test_a_token_of_ours_is_accepted(api: httpx.AsyncClient, world: World):
    """Or the refusals below would prove nothing."""
    person = await world.patient()
    headers = {"Authorization": f"Bearer {signed(claims(person))}"}
    assert (await api.get("/auth/profile", headers=headers)).json()["id"] == person.user_id
    assert (await api.get("/auth/profile", params={"token": signed(claims(person))})).status_code == 200
    assert (await api.get(f"/patients/{person.patient_id}", headers=headers)).status_code == 200


async def test_any_other_is_refused(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    record = f"/patients/{person.patient_id}"
    accepted = []
    for kind, make in NOT_OURS.items():
        token = make(person)
        headers = {b"Authorization": f"Bearer {token}".encode()}
        answers = [
            await api.get("/auth/profile", headers=headers),
            await api.get("/auth/profile", params={"token": token}),
            await api.get(record, headers=headers),
            await api.put(record, headers=headers, json={}),
        ]
        accepted += [(kind, answer.status_code) for answer in answers if not _is_refused(answer)]
    assert accepted == []


async def test_a_token_that_was_good_ends(api: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch):
    """What was found out about it once is not found out again, but for its end."""
    patient = await world.patient()
    for _ in range(2):
        assert (await api.get("/auth/profile", headers=patient.headers)).status_code == 200
    later = time.time() + 7200
    monkeypatch.setattr("health_services.access.tokens.time.time", lambda: later)
    assert (await api.get("/auth/profile", headers=patient.headers)).status_code == 401


async def test_another_scheme_is_refused(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    for scheme in ("Basic {}", "Token {}", "JWT {}", "{}", "Bearer", "Bearer ", "Bearer:{}", "Bearer\u00a0{}", ""):
        value = scheme.format(signed(claims(person))).encode("latin-1")
        assert _is_refused(await api.get("/auth/profile", headers={b"Authorization": value})), scheme


async def test_the_scheme_has_no_case(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        headers = {"Authorization": f"{scheme} {signed(claims(person))}"}
        assert (await api.get("/auth/profile", headers=headers)).json()["id"] == person.user_id


async def test_a_token_in_the_query_opens_the_profile_only(api: httpx.AsyncClient, world: World):
    patient, admin = await world.patient(), await world.admin()
    token = admin.headers["Authorization"].removeprefix("Bearer ")
    for path in (f"/patients/{patient.patient_id}", "/appointments", "/clinics/1/staff"):
        for name in ("token", "access_token", "Authorization"):
            assert _is_refused(await api.get(path, params={name: token}))
    assert (await api.get("/auth/profile", params={"token": token})).json()["id"] == admin.user_id
    assert _is_refused(await api.get("/auth/profile", params={"access_token": token}))
    account = {"name": "Eve", "email": "eve@example.org", "password": "three blue teapots", "role": "admin"}
    assert (await api.post("/auth/register", params={"token": token}, json=account)).status_code == 400
    assert (await api.get("/clinics", params={"token": token})).status_code == 400


async def test_two_headers_are_refused_since_a_proxy_may_look_at_the_other_one(api: httpx.AsyncClient, world: World):
    one, other = await world.patient(), await world.admin()
    headers = [("Authorization", one.headers["Authorization"]), ("Authorization", other.headers["Authorization"])]
    for order in (headers, headers[::-1], [headers[0], headers[0]]):
        assert _is_refused(await api.get("/auth/profile", headers=order))


async def test_the_header_counts_before_the_query(api: httpx.AsyncClient, world: World):
    one, other = await world.patient(), await world.admin()
    query = {"token": other.headers["Authorization"].removeprefix("Bearer ")}
    assert (await api.get("/auth/profile", headers=one.headers, params=query)).json()["id"] == one.user_id
    assert _is_refused(await api.get("/auth/profile", headers={"Authorization": "Bearer no"}, params=query))


async def test_a_cookie_is_no_token(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    cookie = f"token={signed(claims(person))}; access_token={signed(claims(person))}"
    assert _is_refused(await api.get("/auth/profile", headers={"Cookie": cookie}))


async def test_an_account_that_ends_takes_its_tokens_with_it(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    person = await world.user()
    assert (await api.get("/auth/profile", headers=person.headers)).status_code == 200
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", person.user_id)
    assert _is_refused(await api.get("/auth/profile", headers=person.headers))
    account = {"name": "Eve", "email": "eve@example.org", "password": "three blue teapots"}
    assert _is_refused(await api.post("/auth/register", headers=person.headers, json=account))
    await owner.execute("UPDATE users SET is_active = true WHERE id = $1", person.user_id)
    assert _is_refused(await api.get("/auth/profile", headers=person.headers)), "it signs in anew"
    headers = await world.sign_in(person.user_id)
    assert (await api.get("/auth/profile", headers=headers)).status_code == 200
    for table in ("sessions", "users"):
        await owner.execute(f"DELETE FROM {table} WHERE {'id' if table == 'users' else 'user_id'} = $1", person.user_id)
        assert _is_refused(await api.get("/auth/profile", headers=headers))


async def test_a_token_is_worth_what_its_own_session_is(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    one, other = await world.user(), await world.user()
    of_another = {"Authorization": f"Bearer {signed(claims(one, sid=session_of(other)))}"}
    assert _is_refused(await api.get("/auth/profile", headers=of_another))
    assert (await api.get("/auth/profile", headers=one.headers)).status_code == 200
    await owner.execute("UPDATE sessions SET expires_at = now() WHERE user_id = $1", one.user_id)
    assert _is_refused(await api.get("/auth/profile", headers=one.headers))
    ended = "UPDATE sessions SET ended_at = now(), ended_reason = 'by hand' WHERE user_id = $1"
    await owner.execute(ended, other.user_id)
    assert _is_refused(await api.get("/auth/profile", headers=other.headers))


async def test_a_refresh_token_opens_nothing(api: httpx.AsyncClient):
    account = {"name": "Ada", "email": "ada@example.org", "password": "three blue teapots"}
    token = (await api.post("/auth/register", json=account)).json()["refresh_token"]
    assert _is_refused(await api.get("/auth/profile", headers={"Authorization": f"Bearer {token}"}))
    assert _is_refused(await api.get("/auth/profile", params={"token": token}))
    assert _is_refused(await api.get("/auth/profile", headers={"X-API-Key": token}))


async def test_the_role_in_the_database_counts(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    raised, lowered = await world.user("patient"), await world.user("admin")
    await owner.execute("UPDATE users SET role = 'admin' WHERE id = $1", raised.user_id)
    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", lowered.user_id)
    for person in (raised, lowered):
        assert _is_refused(await api.get("/auth/profile", headers=person.headers)), "who has another role signs in anew"
    raised = replace(raised, headers=await world.sign_in(raised.user_id, "patient"))
    lowered = replace(lowered, headers=await world.sign_in(lowered.user_id, "admin"))
    assert (await api.get("/appointments", headers=raised.headers)).status_code == 200
    assert (await api.get("/appointments", headers=lowered.headers)).status_code == 403
    assert (await api.get("/auth/profile", headers=lowered.headers)).json()["role"] == "patient"
    for claim in ("admin", "root", "", 7, ["admin"]):
        headers = {"Authorization": f"Bearer {signed(claims(lowered, role=claim))}"}
        assert (await api.get("/appointments", headers=headers)).status_code == 403
