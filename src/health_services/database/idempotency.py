"""The answers that idempotency keys give again, kept in the transaction of their effect.

Neither the key nor the answer stands in the table in the clear: the key is hashed, and the answer is encrypted with
a key made of the server's secret and the caller's, so that a dump of the database shows no personal data.
"""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.postponed import Write, postpone
from health_services.errors import (
    ConflictException,
    IdempotencyKeyReusedException,
    RequestInProgressException,
)

LIFETIME = timedelta(hours=24)
_NONCE_BYTES = 12
# What is encrypted: whom the answer is about, and its body. An answer of before, the body alone, does not open.
_FORM = b"about, body"
# A nonce and a tag; as many bytes of nothing open with no key, so that the answer is gone and the request still known.
SHORTEST_ANSWER = 28

# Added to a statement that finds the account `c`: whether this request is alone with its key, and what was kept.
ASKED_BEFORE = "CROSS JOIN LATERAL asked_before(c.id, :key_hash, :lifetime)"
_KEEP = Write(
    (
        (
            "kept",
            """INSERT INTO idempotency_keys AS k (user_id, key_hash, request_hash, status, answer)
       VALUES (:key_user_id, :key_hash, :request_hash, :key_status, :answer)
       ON CONFLICT (user_id, key_hash) DO UPDATE
         SET request_hash = excluded.request_hash, status = excluded.status, answer = excluded.answer,
             created_at = now()
         WHERE k.created_at <= now() - CAST(:lifetime AS interval)
       RETURNING 1""",
        ),
    ),
    is_counted=True,
)
_PURGE = text(
    """DELETE FROM idempotency_keys WHERE (user_id, key_hash) IN (
           SELECT user_id, key_hash FROM idempotency_keys WHERE created_at <= now() - CAST(:lifetime AS interval)
           ORDER BY created_at LIMIT :most FOR UPDATE SKIP LOCKED)"""
)


@dataclass(frozen=True)
class Attempt:
    """One request that carries an idempotency key."""

    user_id: int
    key: str
    method: str
    path: str
    body: bytes

    @property
    def key_hash(self) -> bytes:
        """What stands for the key in the database; 32 bytes."""
        return hash_of(self.key)

    @property
    def request_hash(self) -> bytes:
        """Tells one request from another; keyed, so that no short body can be guessed from it."""
        head = f"{self.method} {self.path}\n".encode()
        return hmac.digest(self.key.encode(), head + self.body, "sha256")


@dataclass(frozen=True)
class Answer:
    """A status and the body that went with it; `about` is what the audit says of whom it showed."""

    status: int
    body: bytes
    about: bytes = b""


def _cipher(attempt: Attempt, secret: bytes) -> AESGCM:
    return AESGCM(hmac.digest(secret, b"idempotency\0%d\0" % attempt.user_id + attempt.key.encode(), "sha256"))


def hash_of(key: str) -> bytes:
    """What stands for a key in the database; 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def kept(row: AnyRow, attempt: Attempt, secrets: Sequence[bytes]) -> Answer | None:
    """The answer that this request had before, kept with one of these secrets; None for the first one.

    `row` is the account's, found with ASKED_BEFORE. Raises RequestInProgressException, IdempotencyKeyReusedException,
    and ConflictException where it was kept with another secret: the effect is there, its answer cannot be shown.
    """
    if row.kept_request_hash is None:
        if not row.is_alone:
            raise RequestInProgressException
        return None
    if not hmac.compare_digest(row.kept_request_hash, attempt.request_hash):
        raise IdempotencyKeyReusedException
    nonce, sealed = row.kept_answer[:_NONCE_BYTES], row.kept_answer[_NONCE_BYTES:]
    for secret in secrets if sealed else ():
        with contextlib.suppress(InvalidTag):
            about, _, body = _cipher(attempt, secret).decrypt(nonce, sealed, _FORM + attempt.key_hash).partition(b"\n")
            return Answer(row.kept_status, body, about)
    raise ConflictException("This request was carried out before; its answer is not kept any more.")


def keep(session: AsyncSession, attempt: Attempt, answer: Answer, secret: bytes) -> None:
    """Keep the first answer, with what else is postponed in the transaction; `was_first` tells what became of it."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + _cipher(attempt, secret).encrypt(
        nonce, answer.about + b"\n" + answer.body, _FORM + attempt.key_hash
    )
    _write(session, attempt, answer.status, sealed)


def keep_only_that(session: AsyncSession, attempt: Attempt, status: int) -> None:
    """Keep that the request was carried out, and not what it answered, which is shown once; else as `keep`."""
    _write(session, attempt, status, b"")


def was_first(written: Mapping[str, int]) -> bool:
    """Whether no other request with this key came first, by what `write_all` answered; else this one must be undone."""
    return written.get("kept", 1) == 1


def _write(session: AsyncSession, attempt: Attempt, status: int, sealed: bytes) -> None:
    values = {
        "key_user_id": attempt.user_id,
        "key_hash": attempt.key_hash,
        "request_hash": attempt.request_hash,
        "key_status": status,
        "answer": sealed,
        "lifetime": LIFETIME,
    }
    postpone(session, _KEEP, values)


async def purge(session: AsyncSession, most: int) -> int:
    """Forget up to so many answers that are too old to be given again; how many there were."""
    result = await session.execute(_PURGE, {"lifetime": LIFETIME, "most": most})
    return int(getattr(result, "rowcount", 0))
