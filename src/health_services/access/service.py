"""Who is calling: the account behind a token or key as it is now, and what it has to do with a thing."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.repository import NOTHING, AuditRepository, Besides, CallerRepository
from health_services.access.tokens import REFUSED
from health_services.access.trail import Trail
from health_services.database.base import AnyRow
from health_services.errors import (
    AuthenticationException,
    AuthorizationException,
    HealthServicesError,
    ReauthenticationRequiredException,
    ResourceNotFoundException,
)
from health_services.users.models import Role

# How long after signing in somebody may still change how he signs in.
FRESH = timedelta(minutes=10)
NO_KEY = "This API key is not valid, or has ended."


@dataclass(frozen=True, slots=True)
class Caller:
    """An active account; `account` is its row, `trail` what the audit will tell of this request.

    `doctor_id` counts only for the role doctor, and `clinic_ids` only for staff: a record alone gives no rights.
    Either `session_id` or `api_key_id` says through what it calls; `scopes` are those of the key, None for a session.
    """

    id: int
    role: Role
    patient_id: int | None
    doctor_id: int | None
    clinic_ids: frozenset[int]
    account: AnyRow
    session_id: int | None = None
    api_key_id: int | None = None
    scopes: frozenset[str] | None = None
    authenticated_at: datetime | None = None
    has_second_factor: bool = False
    trail: Trail = field(default_factory=Trail)

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

    def insist_on_fresh(self, now: datetime) -> None:
        """Raise ReauthenticationRequiredException unless he proved who he is within the last ten minutes.

        AuthorizationException for an API key, which proves nothing of a person.
        """
        if self.api_key_id is not None:
            raise AuthorizationException("No API key can do this: sign in.")
        if self.authenticated_at is None or now - self.authenticated_at > FRESH:
            raise ReauthenticationRequiredException


def caller_from(row: AnyRow | None, trail: Trail) -> Caller:
    """The caller of a row of `act_as`; raises AuthenticationException for none."""
    if row is None:
        raise AuthenticationException(REFUSED)
    role = Role(row.role)
    return Caller(
        id=row.id,
        role=role,
        patient_id=row.patient_id,
        doctor_id=row.doctor_id if role is Role.DOCTOR else None,
        clinic_ids=frozenset(row.clinic_ids) if role is Role.STAFF else frozenset(),
        account=row,
        session_id=row.session_id,
        api_key_id=row.api_key_id,
        scopes=None if row.scopes is None else frozenset(row.scopes),
        authenticated_at=row.authenticated_at,
        has_second_factor=row.has_second_factor,
        trail=trail,
    )


async def act_as(
    session: AsyncSession, user_id: int, session_id: int | None, trail: Trail, besides: Besides = NOTHING
) -> Caller:
    """Let the transaction act for this account from now on, and answer it as it is now.

    Raises AuthenticationException if it is gone or inactive, or the session (where one is given) has ended. Without
    a session, whoever calls this has other proof: a password, a token that was sent by mail.
    """
    caller = caller_from(await CallerRepository(session).by_session(user_id, session_id, besides), trail)
    trail.who(caller.id, f"session:{session_id}" if session_id else None)
    return caller


async def act_as_key(
    session: AsyncSession, prefix: str, secret: str, trail: Trail, besides: Besides = NOTHING
) -> Caller:
    """The same for an API key; raises AuthenticationException."""
    row = await CallerRepository(session).by_key(prefix, key_hash(secret), besides)
    if row is None:
        raise AuthenticationException(NO_KEY)
    caller = caller_from(row, trail)
    trail.who(caller.id, f"key:{caller.api_key_id}")
    return caller


def key_hash(secret: str) -> bytes:
    """What stands for a random secret in the database; 32 bytes, without salt, since nobody can guess it."""
    return hashlib.sha256(secret.encode()).digest()


async def refusal(
    session: AsyncSession, caller: Caller, kind: str, object_id: int, missing: str
) -> HealthServicesError:
    """Why the caller does not see a `patient` or `appointment`: not his to see (403), or not there (404).

    Notes in the trail whom it concerns.
    """
    patient_id = await AuditRepository(session).concerned(kind, object_id)
    if patient_id is None:
        return ResourceNotFoundException(missing)
    caller.trail.concerns(patient_id)
    return AuthorizationException()
