"""Who may break the glass, for how long, and who is told of it."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.announcements.service import of_account
from health_services.database.context import as_service
from health_services.emergency_accesses.repository import EmergencyAccessRepository
from health_services.emergency_accesses.schemas import EmergencyAccessRead
from health_services.errors import AuthorizationException, ResourceNotFoundException
from health_services.patients.service import NO_PATIENT

LIFETIME = timedelta(minutes=60)

log = structlog.get_logger("health_services.audit")


async def open_record(
    session: AsyncSession, caller: Caller, patient_id: int, reason: str, now: datetime
) -> EmergencyAccessRead:
    """Let a doctor see a patient's record for an hour, as one who treats him; the patient is told.

    Asked for again, it is opened anew from then on: each time leaves a row with its reason. Raises
    AuthorizationException for an account without a doctor's record, ReauthenticationRequiredException for whoever did
    not prove lately who he is, ResourceNotFoundException.
    """
    accesses = EmergencyAccessRepository(session)
    user_id = await accesses.account_of(patient_id)
    if user_id is None:
        raise ResourceNotFoundException(NO_PATIENT)
    caller.trail.concerns(patient_id)
    if caller.doctor_id is None:
        raise AuthorizationException("Only a doctor with a doctor's record can do this.")
    caller.insist_on_fresh(now)
    expires_at = now + LIFETIME
    await accesses.add(patient_id=patient_id, doctor_id=caller.doctor_id, reason=reason, expires_at=expires_at)
    async with as_service(session):  # the doctor does not see the patient's messages
        await of_account(session, "emergency_access", user_id, now)
    log.warning("emergency access", doctor_id=caller.doctor_id)
    return EmergencyAccessRead(expires_at=expires_at)
