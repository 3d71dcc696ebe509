"""Writing the audit's row of a request: with its effect, or, where there is none, with those of others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.repository import AuditRepository
from health_services.access.trail import Trail, canonical
from health_services.api.origin import address_of
from health_services.api.problems import status_of
from health_services.database.constraints import is_of_values, was_closed_before
from health_services.database.engine import Database
from health_services.database.sealing import vault_of

# Longer numbers are no ids, and would not be kept either.
_LONGEST_ID = 18

log = structlog.get_logger("health_services.audit")


def trail_of(request: Request, action: str) -> Trail:
    """A trail that begins here; what the path names is its object."""
    named = [f"{name.removesuffix('_id')}:{value}" for name, value in request.path_params.items() if value.isdigit()]
    patient_id = request.path_params.get("patient_id", "")
    return Trail(
        asked_for=int(patient_id) if patient_id.isdecimal() and len(patient_id) <= _LONGEST_ID else None,
        action=action,
        object="/".join(named)[:200] or None,
        address=address_of(request),
        request_id=request.scope["state"]["request_id"],
    )


def record(session: AsyncSession, trail: Trail, status: int) -> None:
    """Add the row in the session's transaction, with what else is postponed there."""
    AuditRepository(session).record(_authentic(session, trail.entry(status, datetime.now(UTC))))


def _authentic(session: AsyncSession, entry: dict[str, Any]) -> dict[str, Any]:
    key_id, mac = vault_of(session).authenticate(b"audit", canonical(entry))
    return entry | {"key_id": key_id, "mac": mac}


@dataclass(frozen=True)
class _Waiting:
    """A row, and whoever waits for it."""

    entry: dict[str, Any]
    done: asyncio.Future[None]


class Refusals:
    """Writes the rows of requests that were refused or failed, after their own transactions were undone.

    Each answer waits for its row. What comes while others are written goes together, in the next transaction: whoever
    refuses hundreds at once pays for few commits.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, trail: Trail, error: Exception) -> None:
        """Add the row, and return once that is committed.

        Where the database takes nothing, nothing was shown to anybody either, and the log tells of it.
        """
        entry = trail.entry(status_of(error), datetime.now(UTC))
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await waiting.done

    async def _write_all(self) -> None:
        together: list[_Waiting] = []
        try:
            while self._waiting:
                together, self._waiting = self._waiting, []
                await self._write([waiting.entry for waiting in together])
                _let_go(together)
        finally:  # however it ends, nobody waits for ever, and the next one begins anew
            self._writing = None
            _let_go([*together, *self._waiting])

    async def _write(self, entries: Sequence[dict[str, Any]], *, is_again: bool = False) -> None:
        try:
            async with self._database.reading() as session:
                await AuditRepository(session).record_all([_authentic(session, entry) for entry in entries])
        except Exception as error:
            if was_closed_before(error) and not is_again:
                await self._write(entries, is_again=True)
                return
            if len(entries) > 1 and is_of_values(error):
                for entry in entries:  # none keeps the others out
                    await self._write([entry])
                return
            for entry in entries:
                told = {name: entry[name] for name in ("action", "request_id", "status")}
                log.error("not audited", error=type(error).__name__, **told)  # noqa: TRY400 - a traceback shows values


def _let_go(together: Sequence[_Waiting]) -> None:
    for waiting in together:
        if not waiting.done.done():  # else he has gone away
            waiting.done.set_result(None)
