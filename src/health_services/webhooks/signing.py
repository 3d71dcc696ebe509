"""Secrets of endpoints, and what is signed with them, as Standard Webhooks 1.0.0 says.

Secrets stand in the database only as ciphertext, under a key made of the server's secret: a dump of the database lets
nobody sign in our name.
"""

import base64
import contextlib
import hmac
import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "whsec_"
SECRET_BYTES = 32

_NONCE_BYTES = 12
_CONTEXT = b"webhook secrets\0"
# What else may one day be kept under this key cannot take the place of a secret.
_USE = b"webhooks.secret"


class UnreadableSecretError(Exception):
    """It is not what was kept, or the server's secret has changed since."""


def new_secret() -> str:
    """A secret as the receiver's library takes it: `whsec_` and base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def seal(secret: str, server_secret: bytes) -> bytes:
    """The secret as the database keeps it."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(server_secret).encrypt(nonce, secret.encode(), _USE)


def unseal(sealed: bytes, server_secrets: Sequence[bytes]) -> str:
    """The secret that was sealed with one of these; raises UnreadableSecretError."""
    for server_secret in server_secrets:
        # ValueError: too short to be one
        with contextlib.suppress(InvalidTag, ValueError):
            return _cipher(server_secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _USE).decode()
    raise UnreadableSecretError


def is_sealed_with(sealed: bytes, server_secret: bytes) -> bool:
    """Whether this secret of the server opens it."""
    try:
        unseal(sealed, (server_secret,))
    except UnreadableSecretError:
        return False
    return True


def _cipher(server_secret: bytes) -> AESGCM:
    return AESGCM(hmac.digest(server_secret, _CONTEXT, "sha256"))


def public_id(message_id: UUID) -> str:
    """A message's id as the receiver sees it: the same at every attempt, without a full stop."""
    return f"msg_{message_id.hex}"


def headers(secrets: Sequence[str], message_id: UUID, timestamp: datetime, body: bytes) -> dict[str, str]:
    """The headers that prove the message; one signature for each secret, in their order.

    `timestamp` is that of the attempt, `body` exactly what is sent.
    """
    seconds = str(int(timestamp.timestamp()))
    signed = f"{public_id(message_id)}.{seconds}.".encode() + body
    return {
        "webhook-id": public_id(message_id),
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
