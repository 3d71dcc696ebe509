"""/patients/{id}/emergency-access."""

from typing import Any

from fastapi import APIRouter

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.emergency_accesses import service
from health_services.emergency_accesses.schemas import EmergencyAccessCreate, EmergencyAccessRead
from health_services.errors import ConflictException, ReauthenticationRequiredException, ResourceNotFoundException

router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)


@router.post(
    "/{patient_id}/emergency-access",
    status_code=201,
    summary="Open a record in an emergency",
    response_model=EmergencyAccessRead,
    responses=errors(ResourceNotFoundException, ReauthenticationRequiredException, ConflictException),
)
@requires("patients:emergency")
async def request_emergency_access(
    session: Session, caller: CurrentCaller, patient_id: IdInUrl, body: EmergencyAccessCreate, now: Now
) -> Any:
    """A doctor without a care relation sees the record for 60 minutes; it is audited, and the patient is told.

    Needs a sign-in or a proof of identity of at most 10 minutes ago.
    """
    return await service.open_record(session, caller, patient_id, body.reason, now)
