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

from health_services.database.driver import Statement, fetch
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

# The advisory lock tells of a first request that is still under way: the row of an open transaction cannot be seen. The
# row is read by a statement of its own, whose snapshot is younger than the lock.
_TAKE = Statement("SELECT pg_try_advisory_xact_lock(:lock) AS is_alone")
_FIND = Statement(
    """SELECT request_hash, status, answer FROM idempotency_keys
       WHERE user_id = :user_id AND key_hash = :key_hash AND created_at > now() - CAST(:lifetime AS interval)"""
)
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
        return hashlib.sha256(self.key.encode()).digest()

    @property
    def request_hash(self) -> bytes:
        """Tells one request from another; keyed, so that no short body can be guessed from it."""
        head = f"{self.method} {self.path}\n".encode()
        return hmac.digest(self.key.encode(), head + self.body, "sha256")

    @property
    def lock(self) -> int:
        """The advisory lock of caller and key; a signed 64-bit number."""
        digest = hashlib.sha256(b"%d\0" % self.user_id + self.key_hash).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True)
class Answer:
    """A status and the body that went with it; `about` is what the audit says of whom it showed."""

    status: int
    body: bytes
    about: bytes = b""


def _cipher(attempt: Attempt, secret: bytes) -> AESGCM:
    return AESGCM(hmac.digest(secret, b"idempotency\0%d\0" % attempt.user_id + attempt.key.encode(), "sha256"))


async def find(session: AsyncSession, attempt: Attempt, secrets: Sequence[bytes]) -> Answer | None:
    """The answer that this request had before, kept with one of these secrets; None for the first one.

    Raises RequestInProgressException, IdempotencyKeyReusedException, and ConflictException where it was kept with
    another secret: the effect is there, its answer cannot be shown.
    """
    (turn,) = await fetch(session, _TAKE, {"lock": attempt.lock})
    values = {"user_id": attempt.user_id, "key_hash": attempt.key_hash, "lifetime": LIFETIME}
    row = next(iter(await fetch(session, _FIND, values)), None)
    if row is None:
        if not turn.is_alone:
            raise RequestInProgressException
        return None
    if not hmac.compare_digest(row.request_hash, attempt.request_hash):
        raise IdempotencyKeyReusedException
    for secret in secrets if len(row.answer) > _NONCE_BYTES else ():
        with contextlib.suppress(InvalidTag):
            nonce, sealed = row.answer[:_NONCE_BYTES], row.answer[_NONCE_BYTES:]
            about, _, body = _cipher(attempt, secret).decrypt(nonce, sealed, _FORM + attempt.key_hash).partition(b"\n")
            return Answer(row.status, body, about)
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
