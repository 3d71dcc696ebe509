"""Tokens: only those that we signed, that have not ended, and whose account is as it was."""

import time
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.access.tokens import HS256, claims, signed, signing_input, with_signature
from tests.factories import World

SECONDS_PER_DAY = 86_400
OTHER_KEY = b"a secret of somebody else, long enough"
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC_PEM = _RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _rs256(user_id: int) -> str:
    header, said = {"alg": "RS256", "typ": "JWT"}, claims(user_id)
    text = signing_input(said, header)
    return with_signature(said, header, _RSA.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


def _changed(user_id: int) -> str:
    """The claims of one token over the signature of another."""
    _, _, signature = signed(claims(user_id)).rpartition(".")
    return f"{signing_input(claims(user_id, role='admin'))}.{signature}"


def _alg(name: str, digest: str = "sha256") -> Callable[[int], str]:
    return lambda user_id: signed(claims(user_id), {"alg": name, "typ": "JWT"}, digest=digest)


def _says(**changes: Any) -> Callable[[int], str]:
    return lambda user_id: signed(claims(user_id, **changes))


def _subject(change: Callable[[int], Any]) -> Callable[[int], str]:
    return lambda user_id: signed(claims(user_id, sub=change(user_id)))


def _header(**more: Any) -> Callable[[int], str]:
    """Signed with another key, which the token's own header offers."""
    return lambda user_id: signed(claims(user_id), HS256 | more, key=OTHER_KEY)


NOT_OURS: dict[str, Callable[[int], str]] = {
    "no signature, alg none": lambda user_id: signing_input(claims(user_id), {"alg": "none"}) + ".",
    "no signature, alg NoNe": lambda user_id: signing_input(claims(user_id), {"alg": "NoNe"}) + ".",
    "no signature, alg HS256": lambda user_id: signing_input(claims(user_id)) + ".",
    "alg none over a right signature": _alg("none"),
    "another key": lambda user_id: signed(claims(user_id), key=OTHER_KEY),
    "an empty key": lambda user_id: signed(claims(user_id), key=b"\0"),
    "HS384": _alg("HS384", "sha384"),
    "HS512": _alg("HS512", "sha512"),
    "HS384 that says HS256": _alg("HS256", "sha384"),
    "no algorithm": lambda user_id: signed(claims(user_id), {"typ": "JWT"}),
    "RS256": _rs256,
    "RS256, the public key as the secret": lambda user_id: signed(claims(user_id), {"alg": "RS256"}, key=PUBLIC_PEM),
    "HS256, a public key as the secret": lambda user_id: signed(claims(user_id), key=PUBLIC_PEM),
    "changed claims": _changed,
    "kid that is a path": _header(kid="../../../../dev/null"),
    "kid that is SQL": _header(kid="' UNION SELECT 'a secret of somebody else, long enough"),
    "jku": _header(jku="https://keys.example.org/jwks.json"),
    "x5u": _header(x5u="https://keys.example.org/key.pem"),
    "jwk": _header(jwk={"kty": "oct", "k": "YSBzZWNyZXQgb2Ygc29tZWJvZHkgZWxzZSwgbG9uZyBlbm91Z2g"}),
    "crit that we do not know": lambda user_id: signed(claims(user_id), HS256 | {"crit": ["exp2"], "exp2": 1}),
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
    "claims that are a list": lambda user_id: signed([str(user_id)]),
    "claims that are a text": lambda user_id: signed(str(user_id)),
    "garbage": lambda _: "garbage",
    "dots": lambda _: "...",
    "one dot": lambda _: ".",
    "two parts": lambda user_id: signing_input(claims(user_id)),
    "four parts": lambda user_id: signed(claims(user_id)) + ".x",
    "not base64": lambda user_id: "!!!." + signed(claims(user_id)).partition(".")[2],
    "letters beyond ASCII": lambda user_id: signed(claims(user_id)) + "é",
    "two tokens": lambda user_id: f"{signed(claims(user_id))} {signed(claims(user_id))}",
    "two tokens with a comma": lambda user_id: f"{signed(claims(user_id))}, {signed(claims(user_id))}",
    "quoted": lambda user_id: f'"{signed(claims(user_id))}"',
}


def _is_refused(answer: httpx.Response) -> bool:
    is_problem = answer.headers["content-type"] == "application/problem+json"
    code = answer.json()["error_code"] if is_problem else None
    challenge = answer.headers.get("www-authenticate")
    return (answer.status_code, code, challenge) == (401, "AUTHENTICATION_ERROR", "Bearer")


async def test_a_token_of_ours_is_accepted(api: httpx.AsyncClient, world: World):
    """Or the refusals below would prove nothing."""
    person = await world.patient()
    headers = {"Authorization": f"Bearer {signed(claims(person.user_id))}"}
    assert (await api.get("/auth/profile", headers=headers)).json()["id"] == person.user_id
    assert (await api.get("/auth/profile", params={"token": signed(claims(person.user_id))})).status_code == 200
    assert (await api.get(f"/patients/{person.patient_id}", headers=headers)).status_code == 200


async def test_any_other_is_refused(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    record = f"/patients/{person.patient_id}"
    accepted = []
    for kind, make in NOT_OURS.items():
        token = make(person.user_id)
        headers = {b"Authorization": f"Bearer {token}".encode()}
        answers = [
            await api.get("/auth/profile", headers=headers),
            await api.get("/auth/profile", params={"token": token}),
            await api.get(record, headers=headers),
            await api.put(record, headers=headers, json={}),
        ]
        accepted += [(kind, answer.status_code) for answer in answers if not _is_refused(answer)]
    assert accepted == []


async def test_another_scheme_is_refused(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    for scheme in ("Basic {}", "Token {}", "JWT {}", "{}", "Bearer", "Bearer ", "Bearer:{}", "Bearer\u00a0{}", ""):
        value = scheme.format(signed(claims(person.user_id))).encode("latin-1")
        assert _is_refused(await api.get("/auth/profile", headers={b"Authorization": value})), scheme


async def test_the_scheme_has_no_case(api: httpx.AsyncClient, world: World):
    person = await world.patient()
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        headers = {"Authorization": f"{scheme} {signed(claims(person.user_id))}"}
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
    cookie = f"token={signed(claims(person.user_id))}; access_token={signed(claims(person.user_id))}"
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
    assert (await api.get("/auth/profile", headers=person.headers)).status_code == 200
    await owner.execute("DELETE FROM users WHERE id = $1", person.user_id)
    assert _is_refused(await api.get("/auth/profile", headers=person.headers))


async def test_the_role_in_the_database_counts(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    raised, lowered = await world.user("patient"), await world.user("admin")
    await owner.execute("UPDATE users SET role = 'admin' WHERE id = $1", raised.user_id)
    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", lowered.user_id)
    assert (await api.get("/appointments", headers=raised.headers)).status_code == 200
    assert (await api.get("/appointments", headers=lowered.headers)).status_code == 403
    assert (await api.get("/auth/profile", headers=lowered.headers)).json()["role"] == "patient"
    for claim in ("admin", "root", "", 7, ["admin"]):
        headers = {"Authorization": f"Bearer {signed(claims(lowered.user_id, role=claim))}"}
        assert (await api.get("/appointments", headers=headers)).status_code == 403
