"""Adding second factors, and removing them: within ten minutes of signing in, and never without telling the owner."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.announcements.service import of_account
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.one_time_tokens import service as one_time_tokens
from health_services.one_time_tokens.models import Purpose
from health_services.second_factors import recovery, totp
from health_services.second_factors.relying_party import RelyingParty, UnprovenError, challenge_of
from health_services.second_factors.repository import SecondFactorRepository
from health_services.second_factors.schemas import (
    PasskeyCreate,
    PasskeyOptions,
    RecoveryCodes,
    TotpBegun,
)
from health_services.second_factors.service import CHALLENGE_LIFETIME
from health_services.sessions.repository import SessionRepository
from health_services.users.repository import UserRepository

if TYPE_CHECKING:
    from webauthn.registration.verify_registration_response import VerifiedRegistration

MOST_PASSKEYS = 20
_KNOWN_TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal", "cable"})


async def begin_totp(session: AsyncSession, caller: Caller, issuer: str, now: datetime) -> TotpBegun:
    """A new secret for an authenticator app; until it is confirmed, the one before counts."""
    caller.insist_on_fresh(now)
    secret = totp.new_secret()
    await SecondFactorRepository(session).begin_totp(caller.id, secret)
    uri = totp.uri_of(secret, account=caller.account.email or caller.account.name, issuer=issuer)
    return TotpBegun(secret=secret, otpauth_uri=uri, qr_svg=totp.qr_svg(uri))


async def confirm_totp(session: AsyncSession, caller: Caller, code: str, now: datetime) -> RecoveryCodes:
    """Let the new secret count, since the app shows its code; with recovery codes in place of any before.

    Raises ConflictException where none was begun, ValidationException for a wrong code.
    """
    caller.insist_on_fresh(now)
    factors = SecondFactorRepository(session)
    await factors.lock(caller.id)
    kept = await factors.totp(caller.id)
    if kept is None or kept.next_secret is None:
        raise ConflictException("Begin with POST /auth/mfa/totp.")
    step = totp.step_of(kept.next_secret, recovery.plain(code), now)
    if step is None:
        raise ValidationException.of("code", "is not what the app shows now; is the clock of its device right?")
    await factors.confirm_totp(caller.id, kept.next_secret, step, now)
    await _end_others(session, caller, now)
    await of_account(session, "totp_added", caller.id, now)
    return await _new_recovery_codes(factors, caller.id)


async def remove_totp(session: AsyncSession, caller: Caller, forced: Collection[str], now: datetime) -> None:
    """Forget the authenticator app; `forced` are the roles that need a second factor.

    Raises ResourceNotFoundException, ConflictException for the last factor of such a role.
    """
    caller.insist_on_fresh(now)
    factors = SecondFactorRepository(session)
    await factors.lock(caller.id)
    held = await factors.held(caller.id)
    if not held.has_totp:
        raise ResourceNotFoundException("There is no authenticator app.")
    await _give_up_one(factors, caller, held, forced)
    await factors.remove_totp(caller.id)
    await of_account(session, "totp_removed", caller.id, now)


async def replace_recovery_codes(session: AsyncSession, caller: Caller, now: datetime) -> RecoveryCodes:
    """Ten new recovery codes in place of all before; raises ConflictException without a second factor."""
    caller.insist_on_fresh(now)
    factors = SecondFactorRepository(session)
    await factors.lock(caller.id)
    if not _count(await factors.held(caller.id)):
        raise ConflictException("Recovery codes stand in for a second factor, and there is none yet.")
    await of_account(session, "recovery_codes_replaced", caller.id, now)
    return await _new_recovery_codes(factors, caller.id)


async def begin_passkey(session: AsyncSession, caller: Caller, party: RelyingParty, now: datetime) -> PasskeyOptions:
    """Options for a new passkey on a device that has none yet; raises ConflictException where there cannot be one."""
    caller.insist_on_fresh(now)
    known = await _room_for_one(SecondFactorRepository(session), caller)
    purpose = Purpose.PASSKEY_REGISTRATION
    challenge = await one_time_tokens.issue(session, purpose, caller.id, CHALLENGE_LIFETIME, now)
    return PasskeyOptions(
        party.creation_options(challenge, caller.id, caller.account.email or caller.account.name, known)
    )


async def add_passkey(
    session: AsyncSession, caller: Caller, party: RelyingParty, request: PasskeyCreate, now: datetime
) -> AnyRow:
    """Keep a new passkey; raises ValidationException for one that does not answer a challenge of ours."""
    caller.insist_on_fresh(now)
    factors = SecondFactorRepository(session)
    await factors.lock(caller.id)
    await _room_for_one(factors, caller)
    try:
        made = await _made(session, caller, party, request)
    except UnprovenError:
        raise ValidationException.of(
            "credential", "is no new passkey for this account and this site, or came too late"
        ) from None
    added = await factors.add_passkey(
        user_id=caller.id,
        name=request.name,
        credential_id=made.credential_id,
        public_key=made.credential_public_key,
        sign_count=made.sign_count,
        transports=sorted(_KNOWN_TRANSPORTS.intersection(request.credential.response.transports)),
        is_backed_up=made.credential_backed_up,
    )
    await _end_others(session, caller, now)
    await of_account(session, "passkey_added", caller.id, now)
    return added


async def _end_others(session: AsyncSession, caller: Caller, now: datetime) -> None:
    """End the sessions that were begun without the new factor, or whoever has one could remove it again."""
    await SessionRepository(session).end_all(caller.id, "second factor added", now, but=caller.session_id)


async def _made(
    session: AsyncSession, caller: Caller, party: RelyingParty, request: PasskeyCreate
) -> "VerifiedRegistration":
    credential = request.credential.as_sent()
    issued = await one_time_tokens.redeem(session, Purpose.PASSKEY_REGISTRATION, challenge_of(credential))
    if issued is None or issued.user_id != caller.id:
        raise UnprovenError
    return party.verify_creation(credential)


async def remove_passkey(
    session: AsyncSession, caller: Caller, passkey_id: int, forced: Collection[str], now: datetime
) -> None:
    """Forget one of the caller's passkeys; raises as `remove_totp` does."""
    caller.insist_on_fresh(now)
    factors = SecondFactorRepository(session)
    await factors.lock(caller.id)
    held = await factors.held(caller.id)
    if not await factors.remove_passkey(caller.id, passkey_id):
        raise ResourceNotFoundException("There is no such passkey.")
    await _give_up_one(factors, caller, held, forced)
    await of_account(session, "passkey_removed", caller.id, now)


async def remove_lost(session: AsyncSession, caller: Caller, user_id: int, now: datetime) -> None:
    """An administrator lets somebody begin anew who has lost his factors; raises as `remove_all`, and for himself."""
    caller.insist_on_fresh(now)
    caller.trail.regards(user_id)
    if user_id == caller.id:
        raise ConflictException("Your own factors are removed at /auth/mfa/totp and /auth/passkeys.")
    await remove_all(session, user_id, now)


async def remove_all(session: AsyncSession, user_id: int, now: datetime) -> None:
    """Forget all of somebody's factors, end his sessions, and tell him; raises ResourceNotFoundException."""
    factors = SecondFactorRepository(session)
    if await UserRepository(session).get(user_id) is None:
        raise ResourceNotFoundException("There is no such user.")
    await factors.lock(user_id)
    await factors.remove_totp(user_id)
    await factors.remove_passkeys(user_id)
    await factors.replace_recovery_codes(user_id, [])
    await SessionRepository(session).end_all(user_id, "second factors removed", now)
    await of_account(session, "second_factors_removed", user_id, now)


async def _room_for_one(factors: SecondFactorRepository, caller: Caller) -> list[AnyRow]:
    known = await factors.passkeys(caller.id)
    if len(known) >= MOST_PASSKEYS:
        raise ConflictException(f"There are {MOST_PASSKEYS} passkeys already; remove one first.")
    return list(known)


async def _new_recovery_codes(factors: SecondFactorRepository, user_id: int) -> RecoveryCodes:
    codes = recovery.new_codes()
    await factors.replace_recovery_codes(user_id, [recovery.hash_of(user_id, code) for code in codes])
    return RecoveryCodes(recovery_codes=codes)


def _count(held: AnyRow) -> int:
    return int(held.has_totp) + int(held.passkeys)


async def _give_up_one(factors: SecondFactorRepository, caller: Caller, held: AnyRow, forced: Collection[str]) -> None:
    """See to what one factor less means; recovery codes stand in for nothing after the last."""
    if _count(held) > 1:
        return
    if caller.role in forced:
        raise ConflictException("Your role needs a second factor: add another one before you remove the last.")
    await factors.replace_recovery_codes(caller.id, [])
