"""Access tokens: HS256 JSON Web Tokens (RFC 7519) that say who somebody is, never what he may do."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import jwt

from health_services.errors import AuthenticationException
from health_services.settings import Settings

ALGORITHM = "HS256"
AUDIENCE = "health-services"
TYPE = "access"
_BIGINT_MAX = 2**63 - 1
_REQUIRED = ["sub", "sid", "aud", "typ", "exp", "iat", "jti"]
REFUSED = "The access token is not valid, or has expired."


@dataclass(frozen=True)
class Bearer:
    """Whose token it is, and the session that it belongs to; both are looked up before anything rests on them."""

    user_id: int
    session_id: int


@dataclass(frozen=True)
class Tokens:
    """Issues and reads tokens: the first secret signs, what the others signed is accepted until it ends.

    Each secret has at least 32 bytes.
    """

    secrets: tuple[bytes, ...]
    lifetime: timedelta

    @property
    def secret(self) -> bytes:
        """The secret of the present."""
        return self.secrets[0]

    def issue(self, user_id: int, role: str, session_id: int, now: datetime) -> str:
        """A token of the guide's claims `sub`, `role` and `exp`, and of what else is needed to end it early."""
        claims = {
            "sub": str(user_id),
            "role": role,
            "sid": session_id,
            "typ": TYPE,
            "aud": AUDIENCE,
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self.secret, algorithm=ALGORITHM)

    def read(self, token: str) -> Bearer:
        """Whose token it is; raises AuthenticationException for any that we did not issue or that has ended."""
        for secret in self.secrets:
            claims = _claims(token, secret)
            if claims is not None:
                break
        else:
            raise AuthenticationException(REFUSED)
        subject, session_id = str(claims["sub"]), claims["sid"]
        is_number = subject.isascii() and subject.isdigit() and len(subject) <= len(str(_BIGINT_MAX))
        if not is_number or not 0 < int(subject) <= _BIGINT_MAX or claims["typ"] != TYPE:
            raise AuthenticationException(REFUSED)
        if type(session_id) is not int or not 0 < session_id <= _BIGINT_MAX:
            raise AuthenticationException(REFUSED)
        return Bearer(int(subject), session_id)


def _claims(token: str, secret: bytes) -> Mapping[str, Any] | None:
    try:
        claims = _verified(token, secret)
        return claims if time.time() < claims["exp"] else None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        return None


@lru_cache(maxsize=4096)
def _verified(token: str, secret: bytes) -> Mapping[str, Any]:
    """The claims of a token that we signed; whoever asks once more asks again for its end, which alone can change."""
    return MappingProxyType(
        jwt.decode(token, secret, algorithms=[ALGORITHM], audience=AUDIENCE, options={"require": _REQUIRED})
    )


def secrets_of(settings: Settings) -> tuple[bytes, ...]:
    """The server's secrets: the first one signs and encrypts, what was made with the earlier ones is still accepted."""
    assert settings.secret_key is not None, "the launcher decides which secret"
    return tuple(key.get_secret_value().encode() for key in (settings.secret_key, *settings.previous_secret_keys))
