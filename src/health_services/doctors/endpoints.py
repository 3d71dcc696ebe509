"""/doctors and /clinics/{id}/doctors."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Kept, Paging, Session
from health_services.api.fields import IdInUrl, Line100
from health_services.api.openapi import errors
from health_services.clinics.service import read as read_clinic
from health_services.doctors import service
from health_services.doctors.repository import DoctorRepository
from health_services.doctors.schemas import DoctorCreate, DoctorRead, DoctorUpdate
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.freshness.versions import DIRECTORY

router = APIRouter(prefix="/doctors", tags=["Doctors"], route_class=GuardedRoute)
clinic_router = APIRouter(prefix="/clinics", tags=["Clinics"], route_class=GuardedRoute)


@router.post(
    "",
    status_code=201,
    summary="Create a doctor",
    response_model=DoctorRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("doctors:write")
async def create_doctor(session: Session, body: DoctorCreate) -> Any:
    """Administrators only: the doctor record of an account with the role `doctor`."""
    return await service.create(session, body)


@router.get("", summary="List doctors", response_model=list[DoctorRead], responses=errors())
@requires("doctors:read")
async def list_doctors(
    session: Session,
    kept: Kept,
    listing: Paging,
    specialty: Annotated[Line100 | None, Query(description="without regard to case")] = None,
    clinic_id: Annotated[IdInUrl | None, Query()] = None,
) -> Any:
    """Active doctors, by id; public."""
    kept.rests_on(DIRECTORY)
    return listing.answer(await DoctorRepository(session).active(specialty, clinic_id, listing.page))


@router.get(
    "/{doctor_id}",
    summary="Get a doctor",
    response_model=DoctorRead,
    responses=errors(ResourceNotFoundException),
)
@requires("doctors:read")
async def get_doctor(session: Session, kept: Kept, doctor_id: IdInUrl) -> Any:
    """One doctor, also an inactive one; public."""
    kept.rests_on(DIRECTORY)
    return await service.read(session, doctor_id)


@router.put(
    "/{doctor_id}",
    summary="Update a doctor",
    response_model=DoctorRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("doctors:write")
async def update_doctor(session: Session, doctor_id: IdInUrl, body: DoctorUpdate) -> Any:
    """Administrators only. Changes what is sent; the limit cannot fall below what a day to come already holds.

    After a move to another clinic, new slots are made there; those that were made stay where they are.
    """
    return await service.update(session, doctor_id, body)


@clinic_router.get(
    "/{clinic_id}/doctors",
    summary="List the doctors of a clinic",
    response_model=list[DoctorRead],
    responses=errors(ResourceNotFoundException),
)
@requires("doctors:read")
async def list_clinic_doctors(session: Session, kept: Kept, listing: Paging, clinic_id: IdInUrl) -> Any:
    """Active doctors of one clinic, by id; public."""
    kept.rests_on(DIRECTORY)
    await read_clinic(session, clinic_id)
    return listing.answer(await DoctorRepository(session).active(None, clinic_id, listing.page))
