"""SQL of the doctors table."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.doctors.models import Doctor
from health_services.pagination import Page

_COLUMNS = (
    Doctor.id, Doctor.user_id, Doctor.clinic_id, Doctor.name, Doctor.specialty, Doctor.license_number,
    Doctor.qualifications, Doctor.experience_years, Doctor.max_patients_per_day, Doctor.is_active,
    Doctor.created_at, Doctor.updated_at,
)  # fmt: skip


class DoctorRepository:
    """Doctors, each with the name of his account."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, doctor: Doctor) -> int:
        """Insert; the unique indexes refuse a second record and a license number in use."""
        self._session.add(doctor)
        await self._session.flush()
        return doctor.id

    async def get(self, doctor_id: int) -> AnyRow | None:
        """One doctor, active or not."""
        query = select(*_COLUMNS).where(Doctor.id == doctor_id)
        return (await self._session.execute(query)).one_or_none()

    async def get_for_update(self, doctor_id: int) -> Doctor | None:
        """One doctor, locked until the transaction ends."""
        return await self._session.get(Doctor, doctor_id, with_for_update={"key_share": True}, populate_existing=True)

    async def active(self, specialty: str | None, clinic_id: int | None, page: Page) -> Sequence[AnyRow]:
        """Active doctors by id, one more than the page holds."""
        query = select(*_COLUMNS).where(Doctor.is_active)
        if specialty is not None:
            query = query.where(func.lower(Doctor.specialty) == func.lower(specialty))
        if clinic_id is not None:
            query = query.where(Doctor.clinic_id == clinic_id)
        return (await self._session.execute(page.of(query, Doctor.id))).all()
