"""SQL of the patients table; who may read a row is asked in the same statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, bindparam, func, literal, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.pagination import Page
from health_services.patients.models import Patient
from health_services.users.models import User

_COLUMNS = (
    Patient.id, Patient.user_id, User.name, User.email, User.mobile_no, User.address, Patient.date_of_birth,
    Patient.blood_group, Patient.allergies, Patient.emergency_contact, Patient.sex, Patient.preferred_language,
    Patient.is_active, Patient.created_at, Patient.updated_at,
)  # fmt: skip


# as a literal, so that the index on the same expression serves
_SIMPLE: Any = literal_column("'simple'::regconfig")


def _words(query: str) -> str:
    """A text search for names with words that begin like the query's."""
    words = (word.replace("\\", "\\\\").replace("'", "''") for word in query.split())
    return " & ".join(f"'{word}':*" for word in words)


def _known_to(clinic_ids: Sequence[int]) -> Any:
    clinics = bindparam("clinics", list(clinic_ids), type_=ARRAY(BigInteger))
    return func.is_known_to(clinics, Patient.id)


class PatientRepository:
    """Patients, each with the name and contact of his user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, patient: Patient) -> int:
        """Insert; the unique index refuses a second record of one user."""
        self._session.add(patient)
        await self._session.flush()
        return patient.id

    async def get(
        self, patient_id: int, *, doctor_id: int | None, clinic_ids: Sequence[int], now: datetime
    ) -> AnyRow | None:
        """The record, with `is_treated` (by the doctor) and `is_known` (to one of the clinics)."""
        is_treated = func.is_treating(literal(doctor_id, BigInteger), Patient.id, now).label("is_treated")
        query = (
            select(*_COLUMNS, is_treated, _known_to(clinic_ids).label("is_known"))
            .join(User, User.id == Patient.user_id)
            .where(Patient.id == patient_id)
        )
        return (await self._session.execute(query)).one_or_none()

    async def exists(self, patient_id: int) -> bool:
        """Whether there is such a patient."""
        return await self._session.scalar(select(Patient.id).where(Patient.id == patient_id)) is not None

    async def update(self, patient_id: int, values: dict[str, Any]) -> None:
        """Change a record."""
        await self._session.execute(update(Patient).where(Patient.id == patient_id).values(**values))

    async def find(self, query: str, clinic_ids: Sequence[int] | None, page: Page) -> Sequence[AnyRow]:
        """Whose name has words that begin like the query's, or whose e-mail address or mobile number it is.

        With `clinic_ids`, part of a name finds only patients who are known to one of these clinics.
        """
        begins_so: Any = func.to_tsvector(_SIMPLE, User.name).bool_op("@@")(func.to_tsquery(_SIMPLE, _words(query)))
        if clinic_ids is not None:
            begins_so = begins_so & or_(_known_to(clinic_ids), func.lower(User.name) == func.lower(query))
        exactly = or_(User.email == query.lower(), User.mobile_no == query)
        statement = (
            select(Patient.id, User.name, Patient.date_of_birth, Patient.is_active)
            .join(User, User.id == Patient.user_id)
            .where(or_(exactly, begins_so))
            .order_by(Patient.id)
            .offset(page.skip)
            .limit(page.probe)
        )
        return (await self._session.execute(statement)).all()
