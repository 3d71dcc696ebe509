"""Whom a transaction acts for, and the audit's rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.driver import Row, execute_all, fetch, statement
from health_services.database.idempotency import ASKED_BEFORE, LIFETIME
from health_services.database.postponed import Write, postpone

_BY_SESSION = "act_as(:user_id, :session_id)"
_BY_KEY = "act_as_key(:prefix, :secret_hash)"
_CONCERNS = text("SELECT whom_it_concerns(:kind, :object)")
_RECORD = """INSERT INTO audit_log (nonce, at, user_id, via, action, object, patient_ids, user_ids, address, outcome,
                              status, request_id, key_id, mac)
       VALUES (:nonce, :at, CAST(:user_id AS bigint), :via, :action, :object, CAST(:patient_ids AS bigint[]),
               CAST(:user_ids AS bigint[]), :address, :outcome, :status, :request_id, :key_id, :mac)"""
_RECORD_LATER = Write((("audited", _RECORD),))


@dataclass(frozen=True)
class Besides:
    """What else is asked in the round trip that finds the caller, and stands in his account's row.

    `key_hash`: what an idempotency key was used for (database/idempotency.py); `draws`: the id of a new row there.
    """

    key_hash: bytes | None = None
    draws: str | None = None


NOTHING = Besides()


class CallerRepository:
    """Accounts with all that decides what they may do; finding one lets the transaction act for it until it ends."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_session(self, user_id: int, session_id: int | None, besides: Besides = NOTHING) -> Row | None:
        """The active account, by a session of its own that lives, or by none; one round trip."""
        return await self._found(_BY_SESSION, {"user_id": user_id, "session_id": session_id}, besides)

    async def by_key(self, prefix: str, secret_hash: bytes, besides: Besides = NOTHING) -> Row | None:
        """The same for the account behind an API key that is neither revoked nor expired."""
        return await self._found(_BY_KEY, {"prefix": prefix, "secret_hash": secret_hash}, besides)

    async def _found(self, who: str, values: dict[str, Any], besides: Besides) -> Row | None:
        drawn = f", nextval('{besides.draws}_id_seq') AS drawn_id" if besides.draws else ""
        asked = ASKED_BEFORE if besides.key_hash else ""
        query = statement(f"SELECT *{drawn} FROM {who} AS c {asked}")  # noqa: S608 - no caller's text is in it
        values |= {"key_hash": besides.key_hash, "lifetime": LIFETIME}
        return next(iter(await fetch(self._session, query, values)), None)


class AuditRepository:
    """What the audit is told, and what it may ask of things that the caller cannot see."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def record(self, values: dict[str, Any]) -> None:
        """Add a row before the transaction is committed; nobody who serves requests can change or remove it."""
        postpone(self._session, _RECORD_LATER, values)

    async def record_all(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add these rows, all or none, now; one round trip."""
        await execute_all(self._session, statement(_RECORD), rows)

    async def concerned(self, kind: str, object_id: int) -> int | None:
        """Which patient a `patient` or an `appointment` concerns, seen or not; None if there is no such thing."""
        found: int | None = await self._session.scalar(_CONCERNS, {"kind": kind, "object": object_id})
        return found
