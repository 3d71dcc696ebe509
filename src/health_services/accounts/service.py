"""Keeping accounts: what administrators change of everybody's, and everybody of his own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.accounts.repository import AccountRepository
from health_services.accounts.schemas import OwnUserUpdate, UserUpdate
from health_services.announcements import service as announcements
from health_services.auth import verification
from health_services.clinics.repository import ClinicRepository
from health_services.database.base import AnyRow
from health_services.database.changes import touch
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.freshness.versions import DIRECTORY
from health_services.limits.limiter import Limiter
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.pagination import Page
from health_services.patients.models import Patient
from health_services.patients.repository import PatientRepository
from health_services.sessions.repository import SessionRepository
from health_services.users.models import Role, User
from health_services.users.repository import UserRepository

NO_USER = "There is no such user."
LAST_ADMIN = "This is the last active administrator; make another one first."
# Whatever was mailed to the address of before lets nobody in any more.
_OF_THE_ADDRESS = (Purpose.EMAIL_VERIFICATION, Purpose.PASSWORD_RESET, Purpose.INVITATION)


async def all_accounts(
    session: AsyncSession, caller: Caller, role: Role | None, is_active: bool | None, page: Page
) -> Sequence[AnyRow]:
    """Accounts by id, one more than the page holds."""
    rows = await AccountRepository(session).all(role, is_active, page)
    caller.trail.regards(*(row.id for row in rows[: page.limit]))
    return rows


async def read(session: AsyncSession, caller: Caller, user_id: int) -> AnyRow:
    """One account; raises ResourceNotFoundException."""
    account = await AccountRepository(session).get(user_id)
    if account is None:
        raise ResourceNotFoundException(NO_USER)
    caller.trail.regards(user_id)
    return account


async def update(session: AsyncSession, caller: Caller, user_id: int, request: UserUpdate, now: datetime) -> AnyRow:
    """Change what was sent; another role, or being made inactive, ends the account's sessions at once.

    Raises ResourceNotFoundException; ConflictException for the last active administrator, for a doctor whose record is
    active, and for a person who was erased; ReauthenticationRequiredException where it makes an administrator.
    """
    changes = request.sent()
    may_end_admin = changes.get("role", Role.ADMIN) is not Role.ADMIN or changes.get("is_active") is False
    # Two who take this from each other do so in turn, and the second one finds what the first one did.
    has_other = not may_end_admin or await UserRepository(session).has_admin(lock=True, besides=user_id)
    user = await AccountRepository(session).get_for_update(user_id)
    if user is None:
        raise ResourceNotFoundException(NO_USER)
    caller.trail.regards(user_id)
    if user.erased_at is not None:
        raise ConflictException("This person was erased; the account stays closed.")
    before = user.role, user.is_active
    role, is_active = changes.get("role", user.role), changes.get("is_active", user.is_active)
    is_admin, was_admin = (role is Role.ADMIN and is_active), (user.role is Role.ADMIN and user.is_active)
    if was_admin and not is_admin and not has_other:
        raise ConflictException(LAST_ADMIN)
    if is_admin and not was_admin:
        caller.insist_on_fresh(now)
    await _change_role(session, user, role)
    for field, value in changes.items():
        setattr(user, field, value)
    await session.flush()
    if (user.role, user.is_active) != before:
        await announcements.of_account(session, "account_changed", user_id, now)
    return await read(session, caller, user_id)


async def end_sessions(session: AsyncSession, caller: Caller, user_id: int, now: datetime) -> None:
    """Sign somebody out everywhere, at once; raises ResourceNotFoundException."""
    await read(session, caller, user_id)
    await SessionRepository(session).end_all(user_id, "ended by an administrator", now)


async def _change_role(session: AsyncSession, user: User, role: Role) -> None:
    """What goes with another role: staff leave their clinics, and a patient has a record."""
    if role is user.role:
        return
    accounts = AccountRepository(session)
    if user.role is Role.DOCTOR and await accounts.is_listed_doctor(user.id):
        raise ConflictException("This user's doctor record is active; make it inactive first.")
    if user.role is Role.STAFF:
        await ClinicRepository(session).remove_staff_everywhere(user.id)
    if role is Role.PATIENT:
        account = await accounts.get(user.id)
        if account is not None and account.patient_id is None:
            await PatientRepository(session).add(Patient(user_id=user.id))


async def update_own(
    session: AsyncSession, caller: Caller, limiter: Limiter, address: str, request: OwnUserUpdate, now: datetime
) -> AnyRow:
    """Change what was sent of the caller's own account.

    Another e-mail address is unverified until the link that is mailed to it is followed, and the one of before is told.
    Raises ReauthenticationRequiredException and RateLimitedException where the e-mail address changes, and
    EmailAlreadyRegisteredException. `address` is where he calls from.
    """
    user = await AccountRepository(session).get_for_update(caller.id)
    if user is None:
        raise ResourceNotFoundException(NO_USER)
    changes: dict[str, Any] = {field: value for field, value in request.sent().items() if getattr(user, field) != value}
    if "email" in changes:
        caller.insist_on_fresh(now)
        changes["is_verified"] = False
    old_email = user.email
    for field, value in changes.items():
        setattr(user, field, value)
    touch(session, DIRECTORY)  # which names doctors
    await session.flush()
    if "email" in changes:
        # counted once it is known that nobody else has the address, or a stranger could use up its owner's mails
        await limiter.hit("mail_address", address)
        await limiter.hit("mail_target", changes["email"])
        await _verify_anew(session, caller.id, old_email, now)
    return await read(session, caller, caller.id)


async def _verify_anew(session: AsyncSession, user_id: int, old_email: str | None, now: datetime) -> None:
    for purpose in _OF_THE_ADDRESS:
        await one_time_tokens.withdraw(session, purpose, user_id)
    await verification.send(session, user_id, now)
    if old_email is not None:
        await announcements.of_account(session, "email_changed", user_id, now, to=old_email)
