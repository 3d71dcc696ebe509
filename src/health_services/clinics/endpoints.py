"""/clinics and /clinics/{id}/staff."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from health_services.access.permissions import requires
from health_services.access.route import GuardedRoute
from health_services.api.dependencies import Kept, Paging, Session
from health_services.api.fields import IdInUrl, Line100
from health_services.api.openapi import errors
from health_services.clinics import service
from health_services.clinics.repository import ClinicRepository
from health_services.clinics.schemas import (
    ClinicCreate,
    ClinicRead,
    ClinicStaffCreate,
    ClinicStaffRead,
    ClinicUpdate,
)
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.freshness.versions import DIRECTORY

router = APIRouter(prefix="/clinics", tags=["Clinics"], route_class=GuardedRoute)


@router.post("", status_code=201, summary="Create a clinic", response_model=ClinicRead, responses=errors())
@requires("clinics:write")
async def create_clinic(session: Session, body: ClinicCreate) -> Any:
    """Administrators only. The time zone decides where the clinic's days begin and end."""
    return await service.create(session, body)


@router.get("", summary="List clinics", response_model=list[ClinicRead], responses=errors())
@requires("clinics:read")
async def list_clinics(
    session: Session,
    kept: Kept,
    listing: Paging,
    city: Annotated[Line100 | None, Query(description="without regard to case")] = None,
) -> Any:
    """Active clinics, by id; public."""
    kept.rests_on(DIRECTORY)
    return listing.answer(await ClinicRepository(session).active(city, listing.page))


@router.get(
    "/{clinic_id}",
    summary="Get a clinic",
    response_model=ClinicRead,
    responses=errors(ResourceNotFoundException),
)
@requires("clinics:read")
async def get_clinic(session: Session, kept: Kept, clinic_id: IdInUrl) -> Any:
    """One clinic, also an inactive one; public."""
    kept.rests_on(DIRECTORY)
    return await service.read(session, clinic_id)


@router.put(
    "/{clinic_id}",
    summary="Update a clinic",
    response_model=ClinicRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("clinics:write")
async def update_clinic(session: Session, clinic_id: IdInUrl, body: ClinicUpdate) -> Any:
    """Administrators only. Changes what is sent; the time zone cannot change while appointments are to come."""
    return await service.update(session, clinic_id, body)


@router.get(
    "/{clinic_id}/staff",
    summary="List a clinic's staff",
    response_model=list[ClinicStaffRead],
    responses=errors(ResourceNotFoundException),
)
@requires("clinics:staff")
async def list_clinic_staff(session: Session, clinic_id: IdInUrl) -> Any:
    """Administrators only: who works at the clinic's desk."""
    return await service.staff(session, clinic_id)


@router.post(
    "/{clinic_id}/staff",
    status_code=201,
    summary="Add staff to a clinic",
    response_model=ClinicStaffRead,
    responses=errors(ResourceNotFoundException, ConflictException),
)
@requires("clinics:staff")
async def add_clinic_staff(session: Session, clinic_id: IdInUrl, body: ClinicStaffCreate) -> Any:
    """Administrators only. The account must have the role `staff`; its rights at the clinic begin at once."""
    return await service.add_staff(session, clinic_id, body.user_id)


@router.delete(
    "/{clinic_id}/staff/{user_id}",
    status_code=204,
    response_class=Response,
    summary="Remove staff from a clinic",
    responses=errors(ResourceNotFoundException),
)
@requires("clinics:staff")
async def remove_clinic_staff(session: Session, clinic_id: IdInUrl, user_id: IdInUrl) -> None:
    """Administrators only; the rights at the clinic end at once."""
    await service.remove_staff(session, clinic_id, user_id)
