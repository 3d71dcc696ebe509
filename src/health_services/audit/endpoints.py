"""/audit and /patients/{id}/access-log."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Listing, Session, listed_by
from health_services.api.fields import IdInUrl, Instant, Line100
from health_services.api.openapi import errors
from health_services.audit import service
from health_services.audit.models import Outcome
from health_services.audit.repository import Filter
from health_services.audit.schemas import AccessRead, AuditEntryRead
from health_services.errors import ResourceNotFoundException

router = APIRouter(prefix="/audit", tags=["Audit"], route_class=GuardedRoute)
patient_router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)


async def requested_filter(
    user_id: Annotated[IdInUrl | None, Query(description="who acted")] = None,
    patient_id: Annotated[IdInUrl | None, Query(description="whose data it was")] = None,
    action: Annotated[Line100 | None, Query(description="an operation's id, or a command's name")] = None,
    outcome: Annotated[Outcome | None, Query()] = None,
    date_from: Annotated[Instant | None, Query(description="earliest instant, included")] = None,
    date_to: Annotated[Instant | None, Query(description="latest instant, included")] = None,
) -> Filter:
    """What the audit can be narrowed by."""
    return Filter(user_id, patient_id, action, outcome, date_from, date_to)


Wanted = Annotated[Filter, Depends(requested_filter, scope="function")]
ByTime = Annotated[Listing, listed_by("at", "id")]


@router.get(
    "",
    summary="List the audit",
    response_model=list[AuditEntryRead],
    responses=errors(),
)
@requires("audit:read")
async def list_audit(session: Session, caller: CurrentCaller, listing: ByTime, wanted: Wanted) -> Any:
    """Administrators: who did what to whom, the newest first. This request has its entry too."""
    return listing.answer(await service.entries(session, caller, wanted, listing.page))


@patient_router.get(
    "/{patient_id}/access-log",
    summary="See who looked at a patient's data",
    response_model=list[AccessRead],
    responses=errors(ResourceNotFoundException),
)
@requires("patients:access-log")
async def list_accesses(session: Session, caller: CurrentCaller, patient_id: IdInUrl, listing: ByTime) -> Any:
    """The patient himself and administrators; the newest first, refused attempts and lists that showed him too."""
    return listing.answer(await service.accesses(session, caller, patient_id, listing.page))
