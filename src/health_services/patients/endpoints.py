"""/patients."""

from typing import Any

from fastapi import APIRouter

from health_services.access.dependencies import CurrentCaller
from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Now, Paging, Session
from health_services.api.fields import IdInUrl
from health_services.api.openapi import errors
from health_services.errors import (
    ConflictException,
    EmailAlreadyRegisteredException,
    ResourceNotFoundException,
)
from health_services.patients import service
from health_services.patients.schemas import (
    PatientCreate,
    PatientFound,
    PatientRead,
    PatientSearch,
    PatientUpdate,
)

router = APIRouter(prefix="/patients", tags=["Patients"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=201,
    summary="Create a patient",
    response_model=PatientRead,
    responses=errors(ConflictException, EmailAlreadyRegisteredException),
)
@requires("patients:create")
async def create_patient(session: Session, caller: CurrentCaller, body: PatientCreate, now: Now) -> Any:
    """Staff and administrators: a person without a login. Without `name`: a doctor's or administrator's own record."""
    return await service.create(session, caller, body, now)


@router.post(
    "/search",
    summary="Search patients",
    response_model=list[PatientFound],
    responses=errors(),
)
@requires("patients:search")
async def search_patients(
    session: Session,
    caller: CurrentCaller,
    listing: Paging,
    body: PatientSearch,
) -> Any:
    """Staff and administrators; by POST, so that names stay out of URLs.

    Part of a name finds everybody for administrators, and the patients of their clinics for staff, who find others
    only by the whole name, e-mail address or mobile number.
    """
    return listing.answer(await service.search(session, caller, body, listing.page))


@router.get(
    "/{patient_id}",
    summary="Get a patient",
    response_model=PatientRead,
    responses=errors(ResourceNotFoundException),
)
@requires("patients:read")
async def get_patient(session: Session, caller: CurrentCaller, patient_id: IdInUrl, now: Now) -> Any:
    """The patient himself, administrators, doctors in a care relation, and staff of his clinics (no clinical text)."""
    return await service.read(session, caller, patient_id, now)


@router.put(
    "/{patient_id}",
    summary="Update a patient",
    response_model=PatientRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("patients:write")
async def update_patient(
    session: Session, caller: CurrentCaller, patient_id: IdInUrl, body: PatientUpdate, now: Now
) -> Any:
    """The patient himself, administrators, and staff of his clinics (no clinical text). Changes what is sent.

    An erased person's record does not change any more (409).
    """
    return await service.update(session, caller, patient_id, body, now)
