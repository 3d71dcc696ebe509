"""Keeping one's API keys: made after a proof of who one is, shown once, revoked at once."""

import secrets
import string
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, key_hash
from health_services.announcements import service as announcements
from health_services.api_keys.repository import ApiKeyRepository
from health_services.api_keys.schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException, ValidationException
from health_services.pagination import Page

MOST_KEYS = 20
NO_KEY = "There is no such API key."
# Found by whoever looks for keys that were published by mistake: hs_<prefix>_<secret>.
_PREFIX_CHARACTERS, _PREFIX_LENGTH = string.ascii_lowercase + string.digits, 12
_SECRET_BYTES = 32


async def create(session: AsyncSession, caller: Caller, request: ApiKeyCreate, now: datetime) -> ApiKeyCreated:
    """A new key of the caller's; its secret is in this answer and nowhere else.

    Raises ReauthenticationRequiredException, ValidationException for an end that has passed, ConflictException beyond
    MOST_KEYS that live.
    """
    caller.insist_on_fresh(now)
    if request.expires_at is not None and request.expires_at <= now:
        raise ValidationException.of("expires_at", "must lie in the future")
    keys = ApiKeyRepository(session, caller.id)
    if await keys.count_for_creating(now) >= MOST_KEYS:
        raise ConflictException(f"You have {MOST_KEYS} API keys already; revoke one first.")
    prefix = "".join(secrets.choice(_PREFIX_CHARACTERS) for _ in range(_PREFIX_LENGTH))
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    row = await keys.add(
        name=request.name,
        prefix=prefix,
        secret_hash=key_hash(secret),
        scopes=sorted(request.scopes),
        expires_at=request.expires_at,
    )
    await announcements.of_account(session, "api_key_created", caller.id, now)
    return ApiKeyCreated(**_shown(row).model_dump(), key=f"hs_{prefix}_{secret}")


async def all_keys(session: AsyncSession, caller: Caller, page: Page) -> Sequence[ApiKeyRead]:
    """The caller's keys by id, one more than the page holds."""
    return [_shown(row) for row in await ApiKeyRepository(session, caller.id).all(page)]


async def read(session: AsyncSession, caller: Caller, key_id: int) -> ApiKeyRead:
    """One key of the caller's; raises ResourceNotFoundException."""
    row = await ApiKeyRepository(session, caller.id).get(key_id)
    if row is None:
        raise ResourceNotFoundException(NO_KEY)
    return _shown(row)


async def revoke(session: AsyncSession, caller: Caller, key_id: int, now: datetime) -> None:
    """Let a key of the caller's work no more; raises ResourceNotFoundException."""
    if not await ApiKeyRepository(session, caller.id).revoke(key_id, now):
        raise ResourceNotFoundException(NO_KEY)


def _shown(row: AnyRow) -> ApiKeyRead:
    """As people know the key, by what it begins with."""
    key = ApiKeyRead.model_validate(row)
    return key.model_copy(update={"prefix": f"hs_{key.prefix}"})
