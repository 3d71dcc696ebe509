"""Who may read the audit, and what it is told by commands, which no route records."""

import uuid
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.recording import record
from health_services.access.service import Caller, refusal
from health_services.access.trail import Trail
from health_services.audit.repository import AuditRepository, Filter
from health_services.database.base import AnyRow
from health_services.database.postponed import write_all
from health_services.errors import ResourceNotFoundException
from health_services.pagination import Page
from health_services.patients.service import NO_PATIENT, exists

COMMAND, DONE = "command", 200


async def entries(session: AsyncSession, caller: Caller, wanted: Filter, page: Page) -> Sequence[AnyRow]:
    """A page of the audit, the newest first. It concerns whom it was narrowed to: what it holds is ids alone."""
    if wanted.patient_id is not None:
        caller.trail.concerns(wanted.patient_id)
    if wanted.user_id is not None:
        caller.trail.regards(wanted.user_id)
    return await AuditRepository(session).entries(wanted, page)


async def accesses(session: AsyncSession, caller: Caller, patient_id: int, page: Page) -> Sequence[AnyRow]:
    """Who looked at a patient's data, the newest first: for the patient himself and administrators.

    Raises ResourceNotFoundException, AuthorizationException.
    """
    if not (caller.is_admin or caller.is_patient(patient_id)):
        raise await refusal(session, caller, "patient", patient_id, NO_PATIENT)
    if not await exists(session, patient_id):
        raise ResourceNotFoundException(NO_PATIENT)
    caller.trail.concerns(patient_id)
    return await AuditRepository(session).accesses(patient_id, page)


async def of_command(session: AsyncSession, action: str, *user_ids: int) -> None:
    """Tell the audit that an operator's command was carried out, in the transaction of its effect.

    `user_ids` are the accounts that it changed.
    """
    trail = Trail(action=action, via=COMMAND, request_id=uuid.uuid4().hex)
    trail.regards(*user_ids)
    record(session, trail, DONE)
    await write_all(session)
