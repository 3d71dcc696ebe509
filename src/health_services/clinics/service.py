"""Keeping clinics and their staff."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.clinics.models import Clinic
from health_services.clinics.repository import ClinicRepository
from health_services.clinics.schemas import ClinicCreate, ClinicStaffRead, ClinicUpdate
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.errors import ResourceNotFoundException, ValidationException
from health_services.freshness.versions import DIRECTORY
from health_services.users.models import Role
from health_services.users.repository import UserRepository

NO_CLINIC = "There is no such clinic."


async def create(session: AsyncSession, request: ClinicCreate) -> Clinic:
    """A new clinic, active from now on."""
    touch(session, DIRECTORY)
    return await ClinicRepository(session).add(Clinic(**request.model_dump()))


async def read(session: AsyncSession, clinic_id: int) -> AnyRow:
    """One clinic, active or not; raises ResourceNotFoundException."""
    clinic = await ClinicRepository(session).get(clinic_id)
    if clinic is None:
        raise ResourceNotFoundException(NO_CLINIC)
    return clinic


async def update(session: AsyncSession, clinic_id: int, request: ClinicUpdate) -> Clinic:
    """Change what was sent; the database refuses a new zone while appointments are to come."""
    clinic = await ClinicRepository(session).get_for_update(clinic_id)
    if clinic is None:
        raise ResourceNotFoundException(NO_CLINIC)
    for field, value in request.sent().items():
        setattr(clinic, field, value)
    touch(session, DIRECTORY)
    await session.flush()
    return clinic


async def staff(session: AsyncSession, clinic_id: int) -> Sequence[AnyRow]:
    """Who works at the clinic's desk; raises ResourceNotFoundException."""
    await read(session, clinic_id)
    return await ClinicRepository(session).staff(clinic_id)


async def add_staff(session: AsyncSession, clinic_id: int, user_id: int) -> ClinicStaffRead:
    """Let an account with the role staff work there.

    Raises ResourceNotFoundException, ValidationException for another role, ConflictException if it does already.
    """
    await read(session, clinic_id)
    user = await UserRepository(session).hold(user_id)
    if user is None:
        raise ResourceNotFoundException("There is no such user.")
    if user.role is not Role.STAFF:
        raise ValidationException.of("user_id", "must be a user with the role staff")
    member = await ClinicRepository(session).add_staff(clinic_id, user_id)
    return ClinicStaffRead(user_id=user_id, name=user.name, created_at=member.created_at)


async def remove_staff(session: AsyncSession, clinic_id: int, user_id: int) -> None:
    """Somebody does not work there any more, from the next request on; raises ResourceNotFoundException."""
    if not await ClinicRepository(session).remove_staff(clinic_id, user_id):
        raise ResourceNotFoundException("This user does not work at the clinic.")
