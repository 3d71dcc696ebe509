"""Keeping doctors."""

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.clinics.service import read as read_clinic
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.doctors.models import Doctor
from health_services.doctors.repository import DoctorRepository
from health_services.doctors.schemas import DoctorCreate, DoctorUpdate
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.freshness.versions import DIRECTORY
from health_services.users.models import Role
from health_services.users.repository import UserRepository

NO_DOCTOR = "There is no such doctor."


async def create(session: AsyncSession, request: DoctorCreate) -> AnyRow:
    """The doctor record of an account with the role doctor.

    Raises ResourceNotFoundException (user, clinic), ValidationException (another role), ConflictException.
    """
    user = await UserRepository(session).hold(request.user_id)
    if user is None:
        raise ResourceNotFoundException("There is no such user.")
    if user.role is not Role.DOCTOR:
        raise ValidationException.of("user_id", "must be a user with the role doctor")
    await read_clinic(session, request.clinic_id)
    touch(session, DIRECTORY)
    doctor_id = await DoctorRepository(session).add(Doctor(**request.model_dump()))
    return await read(session, doctor_id)


async def read(session: AsyncSession, doctor_id: int) -> AnyRow:
    """One doctor, active or not; raises ResourceNotFoundException."""
    doctor = await DoctorRepository(session).get(doctor_id)
    if doctor is None:
        raise ResourceNotFoundException(NO_DOCTOR)
    return doctor


async def update(session: AsyncSession, doctor_id: int, request: DoctorUpdate) -> AnyRow:
    """Change what was sent; the database refuses a limit below what today or a day to come already holds.

    Raises ResourceNotFoundException, ConflictException for a record made active whose user is no doctor any more.
    """
    doctor = await DoctorRepository(session).get_for_update(doctor_id)
    if doctor is None:
        raise ResourceNotFoundException(NO_DOCTOR)
    changes = request.sent()
    if "clinic_id" in changes:
        await read_clinic(session, changes["clinic_id"])
    if changes.get("is_active") and not doctor.is_active:
        user = await UserRepository(session).hold(doctor.user_id)
        if user is None or user.role is not Role.DOCTOR:
            raise ConflictException("This user's role is not doctor any more; change it first.")
    for field, value in changes.items():
        setattr(doctor, field, value)
    touch(session, DIRECTORY)
    await session.flush()
    return await read(session, doctor_id)
