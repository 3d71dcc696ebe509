"""What the database refuses, in the caller's words: every guard by its name, in one place.

A race that was lost at a constraint answers exactly like one that was seen before the write.
"""

from collections.abc import Callable

import asyncpg
from asyncpg.exceptions import InvalidCachedStatementError, OutdatedSchemaCacheError
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from health_services.errors import (
    ConflictException,
    DuplicateBookingException,
    EmailAlreadyRegisteredException,
    HealthServicesError,
    ResourceNotFoundException,
    SlotUnavailableException,
    UnavailableException,
    ValidationException,
)

SLOT_FULL = "This slot is fully booked."
SLOT_INACTIVE = "This slot is not offered any more."
DAY_FULL = "The doctor sees no more patients on that day."
OVERLAP = "The doctor has another slot at that time."
LIMIT_BELOW_BOOKED = "A day to come, or today, already holds more appointments than that."
ZONE_IN_USE = "The time zone cannot change while appointments are to come."
SLOT_HAS_LIVE = "This slot has appointments; cancel them first."
ERASED = "This person was erased."

_NOT_OF_SLOT = "must be the slot's own doctor and clinic"

REFUSALS: dict[str, Callable[[], HealthServicesError]] = {
    "ix_users_email": EmailAlreadyRegisteredException,
    "ix_appointments_slot_id_patient_id": DuplicateBookingException,
    "ck_appointment_slots_booked_count": lambda: SlotUnavailableException(SLOT_FULL),
    "ck_appointments_slot_active": lambda: SlotUnavailableException(SLOT_INACTIVE),
    "ck_appointments_slot_owner": lambda: ValidationException.of("doctor_id", _NOT_OF_SLOT),
    "ck_doctor_days_max_patients": lambda: SlotUnavailableException(DAY_FULL),
    "ex_appointment_slots_doctor_id_period": lambda: ConflictException(OVERLAP),
    "ck_users_erased": lambda: ConflictException(ERASED),
    "ck_patients_erased": lambda: ConflictException(ERASED),
    "ck_appointments_patient_erased": lambda: ConflictException(ERASED),
    "ck_appointment_slots_no_live": lambda: ConflictException(SLOT_HAS_LIVE),
    "ck_doctors_days_within_limit": lambda: ConflictException(LIMIT_BELOW_BOOKED),
    "ck_clinics_time_zone_in_use": lambda: ConflictException(ZONE_IN_USE),
    "pk_clinic_staff": lambda: ConflictException("This user works at the clinic already."),
    "ix_patients_user_id": lambda: ConflictException("This user already has a patient record."),
    "ix_doctors_user_id": lambda: ConflictException("This user already has a doctor record."),
    "ix_doctors_license_number": lambda: ConflictException("This license number is registered already."),
    "ix_passkeys_credential_id": lambda: ConflictException("This passkey is registered already."),
    "fk_doctors_user_id": lambda: ResourceNotFoundException("There is no such user."),
    "fk_doctors_clinic_id": lambda: ResourceNotFoundException("There is no such clinic."),
    "fk_clinic_staff_clinic_id": lambda: ResourceNotFoundException("There is no such clinic."),
    "fk_clinic_staff_user_id": lambda: ResourceNotFoundException("There is no such user."),
    "fk_appointment_slots_doctor_id": lambda: ResourceNotFoundException("There is no such doctor."),
    "fk_appointment_slots_clinic_id": lambda: ResourceNotFoundException("There is no such clinic."),
    "fk_appointments_patient_id": lambda: ResourceNotFoundException("There is no such patient."),
    "fk_appointments_slot_id": lambda: ResourceNotFoundException("There is no such slot."),
}

# Two writers met, and PostgreSQL sent one of them away unheard: serialization failure, deadlock.
_TRY_AGAIN = {"40001", "40P01"}
# What PostgreSQL says (as an internal error, XX000) when a row's lockers change under a writer's hands.
_MULTIXACT = "multixact has more than one updating member"
# Classes of SQLSTATE that say «not now»: connection, resources, operator intervention, system error, lock and
# statement timeouts; and read-only, as a standby answers during a failover.
_NOT_NOW = ("08", "53", "57", "58", "55P03", "25006")
_MALFORMED, _VIOLATED = "22", "23"
# A migration changed a table under statements that were prepared before it; they are forgotten, and prepared anew.
_STALE = (InvalidCachedStatementError, OutdatedSchemaCacheError)


def _cause(error: DBAPIError) -> BaseException | None:
    """What the driver raised: SQLAlchemy wraps it, the door beneath SQLAlchemy (driver.py) does not."""
    is_drivers_own = isinstance(error.orig, (asyncpg.PostgresError, asyncpg.InterfaceError))
    wrapped: BaseException | None = None if is_drivers_own else getattr(error.orig, "__cause__", None)
    return wrapped or error.orig


def _is_stale(error: DBAPIError) -> bool:
    return isinstance(_cause(error), _STALE)


def _of_driver(error: DBAPIError) -> tuple[str, str]:
    cause = _cause(error)
    return str(getattr(cause, "sqlstate", None) or ""), str(getattr(cause, "constraint_name", None) or "")


def is_worth_retrying(error: DBAPIError) -> bool:
    """Whether the same transaction, run again, may well succeed."""
    return _of_driver(error)[0] in _TRY_AGAIN or _MULTIXACT in str(error.orig) or _is_stale(error)


def is_of_values(error: Exception) -> bool:
    """Whether others might be taken than these values, which the database refuses or nobody can write."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, (TypeError, ValueError))
    # what the driver cannot write is an InterfaceError that is a ValueError too
    return isinstance(_cause(error), ValueError) or _of_driver(error)[0].startswith((_MALFORMED, _VIOLATED))


def was_closed_before(error: Exception) -> bool:
    """Whether the connection was gone before anything was sent, so that the same may be tried on another."""
    is_interface = isinstance(error, DBAPIError) and isinstance(_cause(error), asyncpg.InterfaceError)
    return is_interface and not is_of_values(error)


def translate(error: Exception) -> HealthServicesError | None:
    """The refusal in the caller's words; None where it is nobody's fault but ours."""
    if isinstance(error, (PoolTimeoutError, OSError, TimeoutError)):
        return UnavailableException()
    if not isinstance(error, DBAPIError):
        return None
    if _is_stale(error):
        return UnavailableException()
    state, constraint = _of_driver(error)
    if constraint in REFUSALS:
        return REFUSALS[constraint]()
    if is_worth_retrying(error):
        return ConflictException("Somebody else changed this at the same moment. Please try again.")
    if isinstance(error, InterfaceError) or error.connection_invalidated or state.startswith(_NOT_NOW):
        return UnavailableException()
    if state.startswith(_MALFORMED):
        return ValidationException("A value in the request cannot be stored.")
    return None
