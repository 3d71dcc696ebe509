"""SQL of accounts with their records: whose rows these are, row-level security decides."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.doctors.models import Doctor
from health_services.pagination import Page
from health_services.patients.models import Patient
from health_services.users.models import Role, User

_ACCOUNT = (
    select(
        User.id, User.name, User.email, User.role, User.mobile_no, User.address, User.is_verified, User.is_active,
        User.created_at, User.updated_at, User.last_login, Patient.id.label("patient_id"),
        Doctor.id.label("doctor_id"),
    )
    .outerjoin(Patient, Patient.user_id == User.id)
    .outerjoin(Doctor, Doctor.user_id == User.id)
)  # fmt: skip


class AccountRepository:
    """Accounts, each with the ids of its patient and doctor record."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: int) -> AnyRow | None:
        """One account."""
        return (await self._session.execute(_ACCOUNT.where(User.id == user_id))).one_or_none()

    async def all(self, role: Role | None, is_active: bool | None, page: Page) -> Sequence[AnyRow]:
        """Accounts by id, one more than the page holds."""
        query = _ACCOUNT
        if role is not None:
            # In the statement's text, so that the index of all but patients is known to do.
            query = query.where(User.role == bindparam(None, role, literal_execute=True))
        if is_active is not None:
            query = query.where(User.is_active == is_active)
        return (await self._session.execute(page.of(query, User.id))).all()

    async def get_for_update(self, user_id: int) -> User | None:
        """One account, locked until the transaction ends."""
        return await self._session.get(User, user_id, with_for_update={"key_share": True}, populate_existing=True)

    async def is_listed_doctor(self, user_id: int) -> bool:
        """Whether the account has a doctor record that is active."""
        query = select(Doctor.id).where(Doctor.user_id == user_id, Doctor.is_active)
        return await self._session.scalar(query) is not None
