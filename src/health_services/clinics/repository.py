"""SQL of clinics and their staff."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.clinics.models import Clinic, ClinicStaff
from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.users.models import User

_COLUMNS = (
    Clinic.id, Clinic.name, Clinic.address, Clinic.phone, Clinic.email, Clinic.city, Clinic.state, Clinic.zip_code,
    Clinic.time_zone, Clinic.is_active, Clinic.created_at, Clinic.updated_at,
)  # fmt: skip


class ClinicRepository:
    """Clinics in the directory, and who works at their desks."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, clinic: Clinic) -> Clinic:
        """Insert."""
        self._session.add(clinic)
        await self._session.flush()
        return clinic

    async def get(self, clinic_id: int) -> AnyRow | None:
        """One clinic, active or not."""
        return (await self._session.execute(select(*_COLUMNS).where(Clinic.id == clinic_id))).one_or_none()

    async def get_for_update(self, clinic_id: int) -> Clinic | None:
        """One clinic, locked until the transaction ends."""
        return await self._session.get(Clinic, clinic_id, with_for_update={"key_share": True}, populate_existing=True)

    async def active(self, city: str | None, page: Page) -> Sequence[AnyRow]:
        """Active clinics by id, one more than the page holds."""
        query = select(*_COLUMNS).where(Clinic.is_active)
        if city is not None:
            query = query.where(func.lower(Clinic.city) == func.lower(city))
        return (await self._session.execute(page.of(query, Clinic.id))).all()

    async def staff(self, clinic_id: int) -> Sequence[AnyRow]:
        """Who works at the desk, by user id."""
        query = (
            select(ClinicStaff.user_id, User.name, ClinicStaff.created_at)
            .join(User, User.id == ClinicStaff.user_id)
            .where(ClinicStaff.clinic_id == clinic_id)
            .order_by(ClinicStaff.user_id)
        )
        return (await self._session.execute(query)).all()

    async def add_staff(self, clinic_id: int, user_id: int) -> ClinicStaff:
        """Let somebody work at the desk."""
        member = ClinicStaff(clinic_id=clinic_id, user_id=user_id)
        self._session.add(member)
        await self._session.flush()
        await self._session.refresh(member)
        return member

    async def remove_staff_everywhere(self, user_id: int) -> None:
        """Somebody works at no desk any more."""
        await self._session.execute(delete(ClinicStaff).where(ClinicStaff.user_id == user_id))

    async def remove_staff(self, clinic_id: int, user_id: int) -> bool:
        """Whether there was somebody to remove."""
        query = delete(ClinicStaff).where(ClinicStaff.clinic_id == clinic_id, ClinicStaff.user_id == user_id)
        result = await self._session.execute(query.returning(ClinicStaff.user_id))
        return result.one_or_none() is not None
