"""Writing the audit's row of a request: with its effect, or, where there is none, alone."""

from datetime import UTC, datetime

import structlog
from fastapi import Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.repository import AuditRepository
from health_services.access.trail import Trail, canonical
from health_services.api.origin import address_of
from health_services.api.problems import status_of
from health_services.database.engine import Database
from health_services.database.postponed import write_all
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
    entry = trail.entry(status, datetime.now(UTC))
    key_id, mac = vault_of(session).authenticate(b"audit", canonical(entry))
    AuditRepository(session).record(entry | {"key_id": key_id, "mac": mac})


async def record_alone(database: Database, trail: Trail, error: Exception) -> None:
    """Add the row of a request that was refused or failed, after its own transaction was undone.

    Where the database takes nothing, nothing was shown to anybody either, and the log tells of it.
    """
    try:
        async with database.reading() as session:
            record(session, trail, status_of(error))
            await write_all(session)
    except (DBAPIError, PoolTimeoutError, OSError):
        log.error("not audited", action=trail.action, request_id=trail.request_id, status=status_of(error))  # noqa: TRY400
