"""Texts that stand in the database encrypted: AES-256-GCM, each bound to its table, column and row.

A value reads `sealed:<key id>:<base64url of nonce, ciphertext and tag>`. What does not look so is clear text of before
there was encryption, which only the columns of that time can hold; there it is read as it is, until
`health-services keys rotate` seals it. A text that a person enters is sealed whatever it looks like, so it is never
mistaken for a sealed one.
"""

import base64
import binascii
import hmac
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Dialect, String
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import TypeDecorator

from health_services.database.base import AnyRow
from health_services.errors import OperatorError, UnavailableException

# PostgreSQL reads it too (resealing.py). 38 characters hold a nonce, a tag and nothing else.
FORM = r"^sealed:([A-Za-z0-9_-]{1,32}):([A-Za-z0-9_-]{38,})$"
KEY_BYTES = 32

_SEALED = re.compile(FORM)
_ONCE_CLEAR = frozenset(
    {
        ("patients", "allergies"),
        ("patients", "emergency_contact"),
        ("appointments", "reason_for_visit"),
        ("appointments", "notes"),
    }
)
_KEY_ID = re.compile("[A-Za-z0-9_-]{1,32}")
_NONCE_BYTES = 12

log = structlog.get_logger("health_services.sealing")


class SealedText(str):
    """What a vault has sealed."""

    __slots__ = ()


class Sealed(TypeDecorator[str]):
    """The type of a sealed column: it takes nothing but what a vault has sealed, and is compared with nothing else."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Raise TypeError for clear text, which would else be written by a forgotten `seal`."""
        if value is not None and not isinstance(value, SealedText):
            raise TypeError("a sealed column takes only what a vault has sealed")
        return value


class KeyRing:
    """Keys of 32 bytes by their ids; the first one encrypts, the others only decrypt.

    Raises ValueError for no key, and for an id by which a value would not be known as sealed.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys or not all(_KEY_ID.fullmatch(name) for name in keys):
            raise ValueError("a key ring has ids of 1 to 32 letters, digits, - and _")
        self.ids = tuple(keys)
        self.first = self.ids[0]
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        # a key of its own for each use, so that what one makes says nothing about the other
        self._macs = {name: hmac.digest(key, b"health-services authenticate", "sha256") for name, key in keys.items()}

    def cipher(self, key_id: str) -> AESGCM | None:
        """The cipher of this key; None where the ring has no such key."""
        return self._ciphers.get(key_id)

    def mac(self, key_id: str, purpose: bytes, data: bytes) -> bytes | None:
        """HMAC-SHA256 of data that only this key's holders can make; None where the ring has no such key."""
        key = self._macs.get(key_id)
        return None if key is None else hmac.digest(key, purpose + b"\0" + data, "sha256")


class Vault:
    """Seals and opens texts; `current` gives the key ring as it is now, and may raise OperatorError.

    It is asked when a ring is needed for the first time, before each sealing, and for a key that is not known.
    """

    def __init__(self, current: Callable[[], KeyRing]) -> None:
        self._current = current
        self._found: KeyRing | None = None

    def prepare(self) -> KeyRing:
        """The key ring as it is now; raises OperatorError where there is none to be found."""
        self._found = self._current()
        return self._found

    def seal(self, table: str, column: str, row_id: int, text: str) -> SealedText:
        """The text as this row's column keeps it; raises UnavailableException where the keys cannot be read."""
        ring = self._refreshed()
        nonce = os.urandom(_NONCE_BYTES)
        cipher = ring.cipher(ring.first)
        assert cipher is not None, "a ring has its first key"
        raw = nonce + cipher.encrypt(nonce, text.encode(), _place(table, column, row_id))
        return SealedText(f"sealed:{ring.first}:{base64.urlsafe_b64encode(raw).decode().rstrip('=')}")

    def open(self, table: str, column: str, row_id: int, stored: str) -> str:
        """The text that was sealed for this row's column, or clear text where there once was some, or "" where emptied.

        Raises UnavailableException, and logs where, for a value whose key is missing or that was sealed elsewhere.
        """
        found = _SEALED.fullmatch(stored)
        if found is None and (not stored or (table, column) in _ONCE_CLEAR):
            return stored
        key_id, encoded = found.groups() if found else (None, "")
        reason = "it was never sealed"
        if key_id is not None:
            # another process may have changed the keys since
            cipher = self._known().cipher(key_id) or self._refreshed().cipher(key_id)
            reason = "the key is missing"
            if cipher is not None:
                try:
                    return _decrypted(cipher, encoded, _place(table, column, row_id))
                except (InvalidTag, binascii.Error):
                    reason = "it was changed, or sealed for another place"
        log.error("a sealed value cannot be opened", reason=reason, key=key_id, table=table, column=column, id=row_id)
        raise UnavailableException

    def authenticate(self, purpose: bytes, data: bytes) -> tuple[str, bytes]:
        """The id of the first key, and the code that it makes over the data; 32 bytes."""
        ring = self._known()
        mac = ring.mac(ring.first, purpose, data)
        assert mac is not None, "a ring has its first key"
        return ring.first, mac

    def is_authentic(self, purpose: bytes, data: bytes, key_id: str, mac: bytes) -> bool | None:
        """Whether that key made the code over the data; None where the key is missing."""
        expected = self._known().mac(key_id, purpose, data) or self._refreshed().mac(key_id, purpose, data)
        return None if expected is None else hmac.compare_digest(expected, mac)

    def _known(self) -> KeyRing:
        return self._found or self._refreshed()

    def _refreshed(self) -> KeyRing:
        try:
            return self.prepare()
        except OperatorError as error:
            log.error("the encryption keys cannot be read", reason=str(error))  # noqa: TRY400 - no trace is wanted
            raise UnavailableException from None


def key_of(stored: str) -> str | None:
    """The id of the key that a value is under; None for clear text."""
    found = _SEALED.fullmatch(stored)
    return found[1] if found else None


def _decrypted(cipher: AESGCM, encoded: str, place: bytes) -> str:
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place).decode()


def _place(table: str, column: str, row_id: int) -> bytes:
    return f"{table}\0{column}\0{row_id}".encode()


def vault_of(session: AsyncSession) -> Vault:
    """The vault of the database that the session belongs to."""
    vault = session.info.get("vault")
    assert isinstance(vault, Vault), "this Database was made without a vault"
    return vault


def sealed(
    session: AsyncSession, table: str, columns: Sequence[str], row_id: int, values: Mapping[str, Any]
) -> dict[str, Any]:
    """The same values for a row, with those of these columns sealed."""
    vault = vault_of(session)
    return {
        name: vault.seal(table, name, row_id, value) if name in columns and value is not None else value
        for name, value in values.items()
    }


def opened(session: AsyncSession, table: str, columns: Sequence[str], rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The same rows, in which these columns of `table` read as clear text; each row has the `id` of its own."""
    vault = vault_of(session)

    def open_row(row: AnyRow) -> tuple[Any, ...]:
        values = row._asdict()
        for column in columns:
            if values[column] is not None:
                values[column] = vault.open(table, column, row.id, values[column])
        return tuple(values.values())

    if not rows:
        return []
    shape = SimpleResultMetaData(rows[0]._fields)
    return list(IteratorResult(shape, map(open_row, rows)).all())
