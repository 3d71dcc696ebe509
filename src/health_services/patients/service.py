"""Keeping patients' records, and deciding who sees what of them."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, refusal
from health_services.database.base import AnyRow
from health_services.database.context import as_service
from health_services.errors import (
    AuthorizationException,
    ConflictException,
    FieldError,
    ValidationException,
)
from health_services.pagination import Page
from health_services.patients.models import Patient
from health_services.patients.repository import PatientRepository
from health_services.patients.schemas import PatientCreate, PatientRead, PatientSearch, PatientUpdate
from health_services.users.models import Role, User
from health_services.users.repository import UserRepository

NO_PATIENT = "There is no such patient."
CLINICAL = frozenset({"blood_group", "allergies"})
_PERSON = frozenset({"name", "email", "mobile_no", "address"})
_OLDEST = timedelta(days=365.25 * 130)


async def read(session: AsyncSession, caller: Caller, patient_id: int, now: datetime) -> PatientRead:
    """The record as far as the caller may see it; raises ResourceNotFoundException, AuthorizationException."""
    return _shown_to(caller, await _visible(session, caller, patient_id, now))


async def update(
    session: AsyncSession, caller: Caller, patient_id: int, request: PatientUpdate, now: datetime
) -> PatientRead:
    """Change what was sent: the patient himself, administrators, and staff of his clinics (no clinical text)."""
    _check_birth(request.date_of_birth, now)
    row = await _visible(session, caller, patient_id, now)
    is_staff_of = caller.role is Role.STAFF and row.is_known
    if not (caller.is_admin or caller.is_patient(patient_id) or is_staff_of):
        raise AuthorizationException
    changes = request.sent()
    if CLINICAL & changes.keys() and not (caller.is_admin or caller.is_patient(patient_id)):
        raise AuthorizationException("Staff cannot change what they cannot see: blood group and allergies.")
    if "is_active" in changes and not caller.is_admin:
        raise AuthorizationException(
            "is_active: only an administrator can change this.",
            errors=[FieldError("is_active", "only an administrator can change this")],
        )
    if changes:
        await PatientRepository(session).update(patient_id, changes)
        row = await _visible(session, caller, patient_id, now)
    return _shown_to(caller, row)


async def create(session: AsyncSession, caller: Caller, request: PatientCreate, now: datetime) -> PatientRead:
    """A person without a login (by staff and administrators), or the caller's own record (without a name).

    Raises AuthorizationException, ValidationException, ConflictException for a second own record.
    """
    _check_birth(request.date_of_birth, now)
    if request.name is None:
        _check_own(caller, request)
    record = request.model_dump(exclude=set(_PERSON))
    # Until the person has an appointment at their clinic, staff do not see whom they have entered.
    async with as_service(session):
        user_id = caller.id if request.name is None else await _add_person(session, caller, request)
        patients = PatientRepository(session)
        patient_id = await patients.add(Patient(user_id=user_id, **record))
        row = await patients.get(patient_id, doctor_id=None, clinic_ids=(), now=now)
    assert row is not None, "it was made in this transaction"
    caller.trail.concerns(patient_id)
    return PatientRead.model_validate(row)


async def search(session: AsyncSession, caller: Caller, request: PatientSearch, page: Page) -> Sequence[AnyRow]:
    """Who matches; staff find people unknown to their clinics only by a whole name, e-mail or mobile number."""
    clinic_ids = None if caller.is_admin else sorted(caller.clinic_ids)
    found = await PatientRepository(session).find(request.query, clinic_ids, page)
    caller.trail.concerns(*(row.id for row in page.cut(found)[0]))
    return found


async def _add_person(session: AsyncSession, caller: Caller, request: PatientCreate) -> int:
    if caller.role is Role.DOCTOR:
        raise AuthorizationException("A doctor can make only his own patient record; leave out the name.")
    assert request.name is not None
    person = User(name=request.name, email=request.email, mobile_no=request.mobile_no, address=request.address)
    return (await UserRepository(session).add(person)).id


def _check_own(caller: Caller, request: PatientCreate) -> None:
    if caller.role is Role.STAFF:
        raise ValidationException.of("name", "is required")
    for field in sorted(_PERSON & request.model_fields_set - {"name"}):
        raise ValidationException.of(field, "belongs to the account; leave it out for your own record")
    if caller.patient_id is not None:
        raise ConflictException("You already have a patient record.")


def _check_birth(born: date | None, now: datetime) -> None:
    if born is not None and not (now - _OLDEST).date() <= born < now.date():
        raise ValidationException.of("date_of_birth", "must lie in the past, within 130 years")


async def _visible(session: AsyncSession, caller: Caller, patient_id: int, now: datetime) -> AnyRow:
    row = await PatientRepository(session).get(
        patient_id, doctor_id=caller.doctor_id, clinic_ids=sorted(caller.clinic_ids), now=now
    )
    if row is None or not (caller.is_admin or caller.is_patient(row.id) or row.is_treated or row.is_known):
        raise await refusal(session, caller, "patient", patient_id, NO_PATIENT)
    caller.trail.concerns(patient_id)
    return row


def _shown_to(caller: Caller, row: AnyRow) -> PatientRead:
    patient = PatientRead.model_validate(row)
    if caller.is_admin or caller.is_patient(row.id) or row.is_treated:
        return patient
    return patient.model_copy(update=dict.fromkeys(CLINICAL))


async def exists(session: AsyncSession, patient_id: int) -> bool:
    """Whether there is such a patient."""
    return await PatientRepository(session).exists(patient_id)
