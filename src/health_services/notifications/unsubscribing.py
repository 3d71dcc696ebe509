"""Links by which a person stops one kind of message with one click (RFC 8058), and that are good for nothing else."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

from health_services.access.tokens import secrets_of
from health_services.notifications.models import SECURITY_KINDS, Kind
from health_services.settings import Settings

_SIGNATURE_BYTES = 20


@dataclass(frozen=True)
class UnsubscribeLinks:
    """Makes and reads them; `base_url` is the service's public address, without a slash at its end.

    The first secret signs; links that the others signed are read too.
    """

    secrets: tuple[bytes, ...]
    base_url: str

    def url(self, user_id: int, kind: Kind) -> str | None:
        """The link of this person for this kind of message; None for kinds that nobody can switch off."""
        if kind in SECURITY_KINDS:
            return None
        claim = f"{user_id}.{kind}".encode()
        token = base64.urlsafe_b64encode(_signature(self.secrets[0], claim) + claim).decode().rstrip("=")
        return f"{self.base_url}/api/v1/unsubscribe/{token}"

    def read(self, token: str) -> tuple[int, Kind] | None:
        """Whose token it is and for what; None if we did not make it."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        signature, claim = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(secret, claim)) for secret in self.secrets):
            return None
        user_id, _, kind = claim.decode().partition(".")
        return int(user_id), Kind(kind)


def _signature(secret: bytes, claim: bytes) -> bytes:
    key = hmac.digest(secret, b"health-services unsubscribe", hashlib.sha256)
    return hmac.digest(key, claim, hashlib.sha256)[:_SIGNATURE_BYTES]


def links_of(settings: Settings) -> UnsubscribeLinks:
    """The links that this service puts into mails, and reads."""
    base_url = (settings.public_url or "http://localhost:8000").rstrip("/")
    return UnsubscribeLinks(secrets_of(settings), base_url)
