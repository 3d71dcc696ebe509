"""Whom a transaction acts for, and the audit's rows."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.driver import Row, fetch, statement
from health_services.database.idempotency import ASKED_BEFORE, LIFETIME
from health_services.database.postponed import Write, postpone

_BY_SESSION = "SELECT * FROM act_as(:user_id, :session_id) AS c"
_BY_KEY = "SELECT * FROM act_as_key(:prefix, :secret_hash) AS c"
_CONCERNS = text("SELECT whom_it_concerns(:kind, :object)")
_RECORD = Write(
    (
        (
            "audited",
            """INSERT INTO audit_log (nonce, at, user_id, via, action, object, patient_ids, user_ids, address, outcome,
                              status, request_id, key_id, mac)
       VALUES (:nonce, :at, CAST(:user_id AS bigint), :via, :action, :object, CAST(:patient_ids AS bigint[]),
               CAST(:user_ids AS bigint[]), :address, :outcome, :status, :request_id, :key_id, :mac)""",
        ),
    )
)


class CallerRepository:
    """Accounts with all that decides what they may do; finding one lets the transaction act for it until it ends."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_session(self, user_id: int, session_id: int | None, asked: bytes | None = None) -> Row | None:
        """The active account, by a session of its own that lives, or by none; one round trip.

        `asked` is the hash of an idempotency key, of which the row then tells too (database/idempotency.py).
        """
        return await self._found(_BY_SESSION, {"user_id": user_id, "session_id": session_id}, asked)

    async def by_key(self, prefix: str, secret_hash: bytes, asked: bytes | None = None) -> Row | None:
        """The same for the account behind an API key that is neither revoked nor expired."""
        return await self._found(_BY_KEY, {"prefix": prefix, "secret_hash": secret_hash}, asked)

    async def _found(self, query: str, values: dict[str, Any], asked: bytes | None) -> Row | None:
        if asked is not None:
            query, values = f"{query} {ASKED_BEFORE}", values | {"key_hash": asked, "lifetime": LIFETIME}
        return next(iter(await fetch(self._session, statement(query), values)), None)


class AuditRepository:
    """What the audit is told, and what it may ask of things that the caller cannot see."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def record(self, values: dict[str, Any]) -> None:
        """Add a row before the transaction is committed; nobody who serves requests can change or remove it."""
        postpone(self._session, _RECORD, values)

    async def concerned(self, kind: str, object_id: int) -> int | None:
        """Which patient a `patient` or an `appointment` concerns, seen or not; None if there is no such thing."""
        found: int | None = await self._session.scalar(_CONCERNS, {"kind": kind, "object": object_id})
        return found
