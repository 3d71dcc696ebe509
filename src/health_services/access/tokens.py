"""Access tokens: HS256 JSON Web Tokens (RFC 7519) that say who somebody is, never what he may do."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from health_services.errors import AuthenticationException

ALGORITHM = "HS256"
_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True)
class Tokens:
    """Issues and reads tokens with one secret of at least 32 bytes."""

    secret: bytes
    lifetime: timedelta

    def issue(self, user_id: int, role: str, now: datetime) -> str:
        """A token of the guide's claims `sub`, `role` and `exp`, and `iat` and `jti`."""
        claims = {
            "sub": str(user_id),
            "role": role,
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self.secret, algorithm=ALGORITHM)

    def user_id(self, token: str) -> int:
        """Whose token it is; raises AuthenticationException for any that we did not issue or that has ended."""
        try:
            claims = jwt.decode(
                token, self.secret, algorithms=[ALGORITHM], options={"require": ["sub", "exp", "iat", "jti"]}
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise AuthenticationException("The access token is not valid, or has expired.") from None
        subject = str(claims["sub"])
        is_number = subject.isascii() and subject.isdigit() and len(subject) <= len(str(_BIGINT_MAX))
        if not is_number or not 0 < int(subject) <= _BIGINT_MAX:
            raise AuthenticationException("The access token is not valid, or has expired.")
        return int(subject)
