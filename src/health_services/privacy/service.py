"""Giving a person everything that is known of him, and forgetting it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, refusal
from health_services.appointments.models import LIVE
from health_services.appointments.schemas import AppointmentCancel
from health_services.appointments.service import cancel
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.database.constraints import ERASED
from health_services.database.context import as_service
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.freshness.versions import DIRECTORY
from health_services.languages.locales import locale_for
from health_services.languages.speaking import Speaker
from health_services.patients.service import NO_PATIENT
from health_services.privacy.inventory import HOLDINGS
from health_services.privacy.repository import Person, PrivacyRepository
from health_services.privacy.schemas import ErasureRead, ErasureRequest
from health_services.privacy.writing import File
from health_services.users.models import Role

WORKS_HERE = (
    "This person works here, and is needed by name: an administrator first gives the account the role patient "
    '(PUT /users/{id} {"role": "patient"}).'
)


async def export(session: AsyncSession, caller: Caller, patient_id: int, file: File, default_locale: str) -> memoryview:
    """Everything about a person, for himself and administrators, written into the file.

    Notes are given to the person alone, once the visit is no longer ahead; else `has_notes` says that there are some.
    Raises ResourceNotFoundException, AuthorizationException.
    """
    found = await _found(session, caller, patient_id)
    person = Person(found.user_id, patient_id)
    # He is given what policies show to nobody: what was told to other systems, and who looked.
    async with as_service(session):
        known = PrivacyRepository(session)
        for holding in HOLDINGS:
            value = file.begin(holding.kind, is_single=holding.is_single)
            async for rows in known.rows(holding, person):
                given = [row._asdict() for row in rows]
                if holding.kind == "appointments":
                    _withhold_notes(given, is_his_own=caller.is_patient(patient_id))
                value.add(given)
            value.end()
        visits = await known.visits(person)
    locale = locale_for(found.locale, found.preferred_language, default=default_locale)
    calendar = await asyncio.to_thread(_calendar, visits, Speaker(locale))
    return file.end({holding.kind: holding.about for holding in HOLDINGS}, calendar)


def _withhold_notes(appointments: Sequence[dict[str, Any]], *, is_his_own: bool) -> None:
    for appointment in appointments:
        appointment["has_notes"] = appointment["notes"] is not None
        if not is_his_own or appointment["status"] in LIVE:
            appointment["notes"] = None


def _calendar(visits: Sequence[AnyRow], say: Speaker) -> bytes:
    from health_services.calendars import ics  # noqa: PLC0415 - its library is large, and few ask for all their data

    return ics.calendar([ics.entry_of(row, say, is_own=True) for row in visits], method="PUBLISH")


async def erase(
    session: AsyncSession, caller: Caller, patient_id: int, request: ErasureRequest, now: datetime
) -> ErasureRead:
    """Cancel what is to come, and empty or delete everything that tells who this was; by administrators and himself.

    Raises ResourceNotFoundException, AuthorizationException, ReauthenticationRequiredException, and ConflictException
    for a person who works here, or is erased already.
    """
    found = await _found(session, caller, patient_id)
    if not caller.is_admin:
        caller.insist_on_fresh(now)
    person = Person(found.user_id, patient_id)
    # It reaches rows that policies show to nobody, and the person's own context ends with his account.
    async with as_service(session):
        known = PrivacyRepository(session)
        account = await known.lock(person)
        if account.erased_at is not None:
            raise ConflictException(ERASED)
        if account.role != Role.PATIENT:
            raise ConflictException(WORKS_HERE)
        cancelled = list(await known.visits_ahead(person, now))
        for appointment_id in cancelled:
            await cancel(session, caller, appointment_id, AppointmentCancel(), now)
        await known.forget_answers(person)
        forgotten = await forget(session, person, now, request.reason)
    return ErasureRead(patient_id=patient_id, erased_at=now, cancelled=cancelled, forgotten=forgotten)


async def forget(session: AsyncSession, person: Person, now: datetime, reason: str | None = None) -> dict[str, int]:
    """Empty or delete every row that tells who this was; how many of each kind. Done again, it changes nothing.

    The account comes last: whoever adds something to it at this moment is done before, or waits.
    """
    touch(session, DIRECTORY)  # he may have been a doctor
    known = PrivacyRepository(session)
    counts = {holding.kind: await known.forget(holding, person, now, reason) for holding in reversed(HOLDINGS)}
    return {kind: count for kind, count in reversed(counts.items()) if count}


async def _found(session: AsyncSession, caller: Caller, patient_id: int) -> AnyRow:
    """The person, if the caller is he or an administrator."""
    if not (caller.is_admin or caller.is_patient(patient_id)):
        raise await refusal(session, caller, "patient", patient_id, NO_PATIENT)
    found = await PrivacyRepository(session).person(patient_id)
    if found is None:
        raise ResourceNotFoundException(NO_PATIENT)
    caller.trail.concerns(patient_id)
    caller.trail.regards(found.user_id)
    return found
