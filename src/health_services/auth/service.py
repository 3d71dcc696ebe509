"""Making accounts and signing in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from health_services.access.service import Caller, act_as
from health_services.access.trail import Trail
from health_services.auth.passwords import Passwords, why_refused
from health_services.auth.schemas import UserLogin, UserRegister
from health_services.database.context import as_service
from health_services.errors import AuthenticationException, AuthorizationException, ValidationException
from health_services.patients.models import Patient
from health_services.sessions import service as sessions
from health_services.sessions.schemas import SignedIn
from health_services.sessions.service import Device, Lifetimes
from health_services.users.models import Role, User
from health_services.users.repository import UserRepository

Sessions = async_sessionmaker[AsyncSession] | Callable[[], AsyncSession]
_WRONG = "The e-mail address or the password is wrong."


@dataclass(frozen=True)
class Gate:
    """What signing in needs besides the database."""

    passwords: Passwords
    lifetimes: Lifetimes


async def register(
    session: AsyncSession, gate: Gate, caller: Caller | None, trail: Trail, request: UserRegister, now: datetime
) -> SignedIn:
    """Make an account and sign it in; a patient's comes with his patient record.

    Raises AuthorizationException for a role that only administrators give, ValidationException for a bad password,
    EmailAlreadyRegisteredException.
    """
    if request.role in {Role.ADMIN, Role.STAFF} and not (caller and caller.is_admin):
        raise AuthorizationException("Only an administrator can make such an account.")
    async with as_service(session):  # nobody is known yet, and whoever makes another's account does not see it
        user = await create_account(session, gate.passwords, request)
    trail.regards(user.id)
    account = await act_as(session, user.id, None, trail)
    return await sessions.begin(session, gate.lifetimes, account, Device(), ["pwd"], now)


async def create_account(session: AsyncSession, passwords: Passwords, request: UserRegister) -> User:
    """The account itself, through whichever door; the password is hashed before the database is touched."""
    password = request.password.get_secret_value()
    reason = why_refused(password, email=request.email, name=request.name)
    if reason:
        raise ValidationException.of("password", reason)
    user = User(
        name=request.name,
        email=request.email,
        password_hash=await passwords.hash(password),
        role=request.role,
        mobile_no=request.mobile_no,
        address=request.address,
    )
    await UserRepository(session).add(user)
    if user.role is Role.PATIENT:
        session.add(Patient(user_id=user.id))
        await session.flush()
    return user


async def login(
    session: AsyncSession, reading: Sessions, gate: Gate, trail: Trail, request: UserLogin, now: datetime
) -> SignedIn:
    """Sign in; raises the same AuthenticationException, after the same time, for every reason.

    No connection is held while the password is checked: `reading` gives one for the look-up, `session` writes after.
    """
    async with reading() as lookup:
        account = await UserRepository(lookup).credentials(request.email)
    stored = account.password_hash if account is not None and account.is_active else None
    is_right, new_hash = await gate.passwords.check(request.password.get_secret_value(), stored)
    if account is not None:
        trail.regards(account.id)
    if not is_right or account is None:
        raise AuthenticationException(_WRONG)
    await act_as(session, account.id, None, trail)
    await UserRepository(session).record_login(account.id, now, new_hash)
    caller = await act_as(session, account.id, None, trail)
    return await sessions.begin(session, gate.lifetimes, caller, Device(), ["pwd"], now)
