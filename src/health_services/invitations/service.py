"""Inviting people: an account without a password, and a mailed link with which its owner chooses one."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.releasing import released
from health_services.access.service import Caller
from health_services.access.trail import Trail
from health_services.accounts.repository import AccountRepository
from health_services.accounts.service import NO_USER
from health_services.accounts.service import read as read_account
from health_services.announcements import service as announcements
from health_services.auth.passwords import Passwords, why_refused
from health_services.clinics.service import add_staff
from health_services.database.base import AnyRow
from health_services.database.context import as_service
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.invitations.schemas import InvitationAccept, InvitationCreate
from health_services.limits.limiter import Limiter
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.patients.models import Patient
from health_services.patients.repository import PatientRepository
from health_services.patients.service import read as read_patient
from health_services.users.models import Role, User
from health_services.users.repository import UserRepository


async def invite(session: AsyncSession, caller: Caller, request: InvitationCreate, now: datetime) -> AnyRow:
    """A new account without a password, and the mail that invites to it.

    Raises EmailAlreadyRegisteredException, and changes nothing of the account that is there; ValidationException for a
    clinic without the role staff; ResourceNotFoundException for one that is not; ReauthenticationRequiredException
    where it makes an administrator.
    """
    if request.clinic_id is not None and request.role is not Role.STAFF:
        raise ValidationException.of("clinic_id", "is for the role staff only")
    if request.role is Role.ADMIN:
        caller.insist_on_fresh(now)
    user = await UserRepository(session).add(User(name=request.name, email=request.email, role=request.role))
    if request.role is Role.PATIENT:
        await PatientRepository(session).add(Patient(user_id=user.id))
    if request.clinic_id is not None:
        await add_staff(session, request.clinic_id, user.id)
    await _mail(session, user.id, now)
    return await read_account(session, caller, user.id)


async def invite_again(session: AsyncSession, caller: Caller, limiter: Limiter, user_id: int, now: datetime) -> None:
    """Mail an invitation to an account that has no password yet; earlier ones end.

    Raises ResourceNotFoundException, ConflictException, RateLimitedException.
    """
    user = await AccountRepository(session).get_for_update(user_id)
    if user is None:
        raise ResourceNotFoundException(NO_USER)
    caller.trail.regards(user_id)
    if user.password_hash is not None:
        raise ConflictException("This person has a login already.")
    if user.email is None:
        raise ConflictException("This person has no e-mail address.")
    if not user.is_active:
        raise ConflictException("This account is not active.")
    await limiter.hit("mail_target", user.email)
    await _mail(session, user_id, now)


async def invite_patient(
    session: AsyncSession, caller: Caller, limiter: Limiter, patient_id: int, now: datetime
) -> None:
    """The same for whom a patient record is about, as far as the caller sees it; raises AuthorizationException too."""
    patient = await read_patient(session, caller, patient_id, now)
    await invite_again(session, caller, limiter, patient.user_id, now)


async def _mail(session: AsyncSession, user_id: int, now: datetime) -> None:
    purpose = Purpose.INVITATION
    async with as_service(session):  # whoever invites sees neither the other's tokens nor his messages
        await one_time_tokens.withdraw(session, purpose, user_id)
        token = await one_time_tokens.issue(session, purpose, user_id, one_time_tokens.MAILED[purpose], now)
        await announcements.mail_token(session, purpose, user_id, token, now)


async def accept(session: AsyncSession, passwords: Passwords, trail: Trail, request: InvitationAccept) -> None:
    """Give the invited person's account its password; the address is verified, since the mail reached him.

    Raises ValidationException for a token that is used, expired or none of ours, and for a password that nobody should
    have, which leaves the token as it is. No connection is held while the password is hashed.
    """
    password = request.password.get_secret_value()
    caller = await one_time_tokens.hold(session, trail, Purpose.INVITATION, request.token)
    reason = why_refused(password, email=caller.account.email, name=caller.account.name)
    if reason:
        raise ValidationException.of("password", reason)
    async with released(session, caller):
        password_hash = await passwords.hash(password)
    await one_time_tokens.hold(session, trail, Purpose.INVITATION, request.token)
    users = UserRepository(session)
    await users.change_password(caller.id, password_hash, None)
    await users.verify_email(caller.id)
