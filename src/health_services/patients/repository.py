"""SQL of the patients table; who may read a row is asked in the same statement."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, bindparam, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.sealing import opened, sealed
from health_services.pagination import Page
from health_services.patients.models import Patient
from health_services.users.models import User

_COLUMNS = (
    Patient.id, Patient.user_id, User.name, User.email, User.mobile_no, User.address, Patient.date_of_birth,
    Patient.blood_group, Patient.allergies, Patient.emergency_contact, Patient.sex, Patient.preferred_language,
    Patient.is_active, Patient.created_at, Patient.updated_at,
)  # fmt: skip


# The database answers for patients whom the caller does not see; the service has checked that he may search.
_FIND = text(
    "SELECT * FROM find_patients(:query, :words, CAST(:clinics AS bigint[]), CAST(:after AS bigint), "
    "CAST(:skip AS bigint), CAST(:probe AS bigint))"
)
# A sealed text is bound to its row's id, which has to be known before.
_NEXT_ID = text("SELECT nextval(pg_get_serial_sequence('patients', 'id'))")
_ADD = text(
    """INSERT INTO patients (id, user_id, date_of_birth, blood_group, allergies, emergency_contact, sex,
                             preferred_language)
       OVERRIDING SYSTEM VALUE
       VALUES (COALESCE(CAST(:id AS bigint), nextval(pg_get_serial_sequence('patients', 'id'))), :user_id,
               :date_of_birth, :blood_group, :allergies, :emergency_contact, :sex, :preferred_language)
       RETURNING id"""
)
_TABLE, _SEALED = "patients", ("allergies", "emergency_contact")
_ENTERED = ("user_id", "date_of_birth", "blood_group", *_SEALED, "sex", "preferred_language")
_ACCOUNT = text("SELECT user_id FROM patient_account(:patient_id)")


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
        values = {column: getattr(patient, column) for column in _ENTERED}
        patient_id = None
        if any(values[column] is not None for column in _SEALED):
            patient_id = int(await self._session.scalar(_NEXT_ID))
            values = sealed(self._session, _TABLE, _SEALED, patient_id, values)
        return int(await self._session.scalar(_ADD, {"id": patient_id, **values}))

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
        rows = opened(self._session, _TABLE, _SEALED, (await self._session.execute(query)).all())
        return rows[0] if rows else None

    async def exists(self, patient_id: int) -> bool:
        """Whether there is such a patient."""
        return await self._session.scalar(_ACCOUNT, {"patient_id": patient_id}) is not None

    async def update(self, patient_id: int, values: dict[str, Any]) -> None:
        """Change a record."""
        values = sealed(self._session, _TABLE, _SEALED, patient_id, values)
        await self._session.execute(update(Patient).where(Patient.id == patient_id).values(**values))

    async def find(self, query: str, clinic_ids: Sequence[int] | None, page: Page) -> Sequence[AnyRow]:
        """Whose name has words that begin like the query's, or whose e-mail address or mobile number it is.

        With `clinic_ids`, part of a name finds only patients who are known to one of these clinics.
        """
        values = {
            "query": query,
            "words": _words(query),
            "clinics": None if clinic_ids is None else list(clinic_ids),
            "after": page.after[0] if page.after else 0,
            "skip": page.skip,
            "probe": page.probe,
        }
        return (await self._session.execute(_FIND, values)).all()
