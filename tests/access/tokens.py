"""Tokens made by hand, so that no library keeps a test from making a bad one."""

import base64
import hashlib
import hmac
import time
import uuid
from typing import Any

import orjson

from tests.conftest import test_settings
from tests.factories import Person

HS256 = {"alg": "HS256", "typ": "JWT"}


def secret() -> bytes:
    """The key of the application under test."""
    key = test_settings("postgresql://nowhere/none").secret_key
    assert key is not None
    return key.get_secret_value().encode()


def claims(person: Person, **changes: Any) -> dict[str, Any]:
    """What a valid token of this person's session says; None takes a claim away."""
    now = int(time.time())
    said = {
        "sub": str(person.user_id),
        "role": "patient",
        "sid": session_of(person),
        "typ": "access",
        "aud": "health-services",
        "iat": now,
        "exp": now + 900,
        "jti": uuid.uuid4().hex,
    } | changes
    return {name: value for name, value in said.items() if value is not None}


def session_of(person: Person) -> int:
    """The id of the session that the person's own token belongs to."""
    payload = person.headers["Authorization"].split(".")[1]
    return int(orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"])


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signing_input(said: Any, header: dict[str, Any] | None = None) -> str:
    """The part of a token that is signed."""
    return f"{_part(orjson.dumps(header or HS256))}.{_part(orjson.dumps(said))}"


def signed(said: Any, header: dict[str, Any] | None = None, *, key: bytes | None = None, digest: str = "sha256") -> str:
    """A whole token; with nothing changed, one that the application accepts."""
    text = signing_input(said, header)
    return f"{text}.{_part(hmac.digest(key or secret(), text.encode(), getattr(hashlib, digest)))}"


def with_signature(said: Any, header: dict[str, Any], signature: bytes) -> str:
    """A token with whatever stands for a signature."""
    return f"{signing_input(said, header)}.{_part(signature)}"
