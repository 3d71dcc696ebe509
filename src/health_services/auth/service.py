"""Making accounts and signing in."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.releasing import released
from health_services.access.service import Caller, act_as
from health_services.access.trail import Trail
from health_services.announcements.service import of_failed_logins
from health_services.auth import verification
from health_services.auth.gate import Gate
from health_services.auth.passwords import Passwords, why_refused
from health_services.auth.schemas import Reauthentication, UserLogin, UserRegister
from health_services.database.context import as_service
from health_services.errors import AuthenticationException, AuthorizationException, ValidationException
from health_services.patients.models import Patient
from health_services.second_factors.schemas import MfaRequired
from health_services.second_factors.service import begin_login, verify_code
from health_services.sessions import service as sessions
from health_services.sessions.repository import SessionRepository
from health_services.sessions.schemas import SignedIn
from health_services.sessions.service import Device
from health_services.users.models import Role, User
from health_services.users.repository import UserRepository

Sessions = Callable[[], AsyncSession]
WRONG = "The e-mail address or the password is wrong."
_WRONG_PROOF = "The password or the code is wrong."
# So many failures within a quarter of an hour, and the owner is told.
_ALARMING = 20


async def register(
    session: AsyncSession,
    gate: Gate,
    caller: Caller | None,
    trail: Trail,
    request: UserRegister,
    device: Device,
    now: datetime,
) -> SignedIn:
    """Make an account and sign it in; a patient's comes with his patient record, and everybody's with a mail to verify.

    Raises AuthorizationException for a role that only administrators give, ReauthenticationRequiredException for
    another administrator, RateLimitedException, ValidationException for a bad password,
    EmailAlreadyRegisteredException.
    """
    is_admin = caller is not None and caller.is_admin
    if request.role in {Role.ADMIN, Role.STAFF} and not is_admin:
        raise AuthorizationException("Only an administrator can make such an account.")
    if request.role is Role.ADMIN and caller is not None:
        caller.insist_on_fresh(now)
    if not is_admin:
        await gate.limiter.hit("register", device.address or "")
    async with released(session, caller) if caller else nullcontext():
        password_hash = await _hashed(gate.passwords, request)
    async with as_service(session):  # nobody is known yet, and whoever makes another's account does not see it
        user = await _add(session, request, password_hash)
    trail.regards(user.id)
    # who makes another's account is still the one who acts
    account = await act_as(session, user.id, None, trail if caller is None else Trail())
    await verification.send(session, account.id, now)
    return await sessions.begin(session, gate.lifetimes, account, device, ["pwd"], now)


async def create_account(session: AsyncSession, passwords: Passwords, request: UserRegister) -> User:
    """The account itself, for the operator, who vouches for the address; raises as `register`."""
    return await _add(session, request, await _hashed(passwords, request), is_verified=True)


async def _hashed(passwords: Passwords, request: UserRegister) -> str:
    password = request.password.get_secret_value()
    reason = why_refused(password, email=request.email, name=request.name)
    if reason:
        raise ValidationException.of("password", reason)
    return await passwords.hash(password)


async def _add(session: AsyncSession, request: UserRegister, password_hash: str, *, is_verified: bool = False) -> User:
    user = User(
        name=request.name,
        email=request.email,
        password_hash=password_hash,
        role=request.role,
        mobile_no=request.mobile_no,
        address=request.address,
        is_verified=is_verified,
    )
    await UserRepository(session).add(user)
    if user.role is Role.PATIENT:
        session.add(Patient(user_id=user.id))
        await session.flush()
    return user


async def login(
    session: AsyncSession,
    reading: Sessions,
    gate: Gate,
    trail: Trail,
    request: UserLogin,
    device: Device,
    now: datetime,
) -> SignedIn | MfaRequired | None:
    """Sign in, or, where the account has a second factor, ask for it.

    None, after the same work, for every reason why not; then the owner may have been told, which has to be committed.
    Raises RateLimitedException. No connection is held while the password is checked: `reading` gives one for the
    look-up, `session` writes after.
    """
    async with reading() as lookup:
        account = await UserRepository(lookup).credentials(request.email)
    stored = account.password_hash if account is not None and account.is_active else None
    checked = await gate.check(request.email, device.address, request.password.get_secret_value(), stored)
    if account is not None:
        trail.regards(account.id)
    if not checked.is_right or account is None:
        if checked.failures >= _ALARMING:
            async with as_service(session):  # nobody is known
                await of_failed_logins(session, account.id if account else None, now)
        return None
    try:
        caller = await act_as(session, account.id, None, trail)
    except AuthenticationException:  # made inactive in this moment
        return None
    if checked.new_hash:
        await UserRepository(session).renew_hash(caller.id, checked.new_hash, account.password_hash)
    if caller.has_second_factor:
        return await begin_login(session, caller, device, now)
    return await sessions.sign_in(session, gate.lifetimes, caller, device, ["pwd"], now)


async def reauthenticate(
    session: AsyncSession, gate: Gate, caller: Caller, address: str, request: Reauthentication, now: datetime
) -> None:
    """Let the caller's session count as fresh again, by his password and, where he has a second factor, a code.

    Raises AuthorizationException for a wrong one, RateLimitedException as `login`.
    """
    stored = await UserRepository(session).password_hash(caller.id)
    async with released(session, caller):
        password = request.password.get_secret_value()
        checked = await gate.check(caller.account.email or "", address, password, stored)
        if not checked.is_right:
            raise AuthorizationException(_WRONG_PROOF)
        if caller.has_second_factor:
            await gate.limiter.hit("mfa", str(caller.id))
    if caller.has_second_factor:
        if request.code is None:
            raise ValidationException.of("code", "is required: this account has a second factor")
        if not await verify_code(session, caller.id, request.code.get_secret_value(), now):
            raise AuthorizationException(_WRONG_PROOF)
    assert caller.session_id is not None, "no API key comes through this door"
    await SessionRepository(session).prove(caller.session_id, now)
