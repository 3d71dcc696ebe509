"""Who is calling: the account behind a token as it is now, and what it has to do with a thing."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.repository import CallerRepository
from health_services.database.base import AnyRow
from health_services.errors import AuthenticationException
from health_services.users.models import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """An active account; `account` is its row.

    `doctor_id` counts only for the role doctor, and `clinic_ids` only for staff: a record alone gives no rights.
    """

    id: int
    role: Role
    patient_id: int | None
    doctor_id: int | None
    clinic_ids: frozenset[int]
    account: AnyRow

    @property
    def is_admin(self) -> bool:
        """Whether the caller runs the whole region."""
        return self.role is Role.ADMIN

    def runs(self, clinic_id: int) -> bool:
        """Whether the caller may do at this clinic what an administrator may do for slots and appointments."""
        return self.is_admin or clinic_id in self.clinic_ids

    def is_patient(self, patient_id: int) -> bool:
        """Whether the patient is the caller himself."""
        return self.patient_id == patient_id

    def is_doctor(self, doctor_id: int) -> bool:
        """Whether the doctor is the caller himself."""
        return self.doctor_id == doctor_id


async def caller_of(session: AsyncSession, user_id: int) -> Caller:
    """The account as it is now; raises AuthenticationException if it is gone or inactive."""
    account = await CallerRepository(session).account(user_id)
    if account is None or not account.is_active:
        raise AuthenticationException("The access token is not valid, or has expired.")
    role = Role(account.role)
    return Caller(
        id=account.id,
        role=role,
        patient_id=account.patient_id,
        doctor_id=account.doctor_id if role is Role.DOCTOR else None,
        clinic_ids=frozenset(account.clinic_ids) if role is Role.STAFF else frozenset(),
        account=account,
    )
