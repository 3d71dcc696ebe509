"""Refresh tokens, and what ties one to the next: the successor, encrypted with a key that only the token makes.

So the database alone gives nobody a token, and whoever has lost the answer to his refresh gets the same one again.
"""

import hashlib
import hmac
import os
import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_BYTES = 32
_NONCE_BYTES = 12


def new_token() -> str:
    """A refresh token of 256 random bits."""
    return f"hsr_{secrets.token_urlsafe(_BYTES)}"


def sealed_successor(token: str, successor: str) -> bytes:
    """The successor, to be kept beside the token's hash."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(token).encrypt(nonce, successor.encode(), None)


def successor_of(token: str, kept: bytes) -> str:
    """The successor that was kept for this token."""
    return _cipher(token).decrypt(kept[:_NONCE_BYTES], kept[_NONCE_BYTES:], None).decode()


def _cipher(token: str) -> AESGCM:
    # the token is as random as a key; its plain hash stands in the database
    return AESGCM(hmac.digest(token.encode(), b"health-services successor", hashlib.sha256))


def csrf_token(secret: bytes, session_id: int) -> str:
    """What the pages of a session in cookies send along, which no other site can know; 64 hexadecimal digits."""
    key = hmac.digest(secret, b"health-services csrf", hashlib.sha256)
    return hmac.digest(key, str(session_id).encode(), hashlib.sha256).hex()
