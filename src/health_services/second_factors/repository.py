"""SQL of second factors; secrets of authenticator apps are sealed here."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.database.sealing import opened, sealed
from health_services.second_factors.models import Passkey, RecoveryCode, TotpAuthenticator
from health_services.users.models import User

_TABLE, _SECRETS = "totp_authenticators", ("secret", "next_secret")
_PASSKEY_OWNER = text("SELECT passkey_owner(:credential_id)")


class SecondFactorRepository:
    """Factors of the account for which the transaction acts; an administrator's acts for all."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self, user_id: int) -> None:
        """Let nobody else who locks them change the person's factors until the transaction ends."""
        await self._session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))

    async def held(self, user_id: int) -> AnyRow:
        """`has_totp`, the number of `recovery_codes` that are left, and of `passkeys`."""
        query = select(
            select(TotpAuthenticator.user_id)
            .where(TotpAuthenticator.user_id == user_id, TotpAuthenticator.confirmed_at.is_not(None))
            .exists()
            .label("has_totp"),
            select(func.count())
            .where(RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None))
            .scalar_subquery()
            .label("recovery_codes"),
            select(func.count()).where(Passkey.user_id == user_id).scalar_subquery().label("passkeys"),
        )
        return (await self._session.execute(query)).one()

    async def totp(self, user_id: int) -> AnyRow | None:
        """`secret` and `next_secret` in the clear, and `last_step`."""
        columns = (TotpAuthenticator.secret, TotpAuthenticator.next_secret, TotpAuthenticator.last_step)
        query = select(TotpAuthenticator.user_id.label("id"), *columns).where(TotpAuthenticator.user_id == user_id)
        rows = opened(self._session, _TABLE, _SECRETS, (await self._session.execute(query)).all())
        return rows[0] if rows else None

    async def begin_totp(self, user_id: int, secret: str) -> None:
        """Keep a secret that waits for its first code, in place of one that waited before."""
        values = sealed(self._session, _TABLE, _SECRETS, user_id, {"next_secret": secret})
        query = insert(TotpAuthenticator).values(user_id=user_id, **values)
        await self._session.execute(query.on_conflict_do_update(index_elements=["user_id"], set_=values))

    async def confirm_totp(self, user_id: int, secret: str, step: int, now: datetime) -> None:
        """From now on this secret counts, and its code of that step is used."""
        values: dict[str, Any] = sealed(self._session, _TABLE, _SECRETS, user_id, {"secret": secret})
        values |= {"next_secret": None, "last_step": step, "confirmed_at": now}
        await self._session.execute(update(TotpAuthenticator).filter_by(user_id=user_id).values(values))

    async def use_step(self, user_id: int, step: int) -> bool:
        """Use up the codes up to this step; whether nobody had used one of this or a later step before."""
        query = update(TotpAuthenticator).where(
            TotpAuthenticator.user_id == user_id, TotpAuthenticator.last_step < step
        )
        query = query.values(last_step=step)
        return await self._session.scalar(query.returning(TotpAuthenticator.user_id)) is not None

    async def remove_totp(self, user_id: int) -> None:
        """Forget the authenticator app, and one that was begun."""
        await self._session.execute(delete(TotpAuthenticator).filter_by(user_id=user_id))

    async def replace_recovery_codes(self, user_id: int, hashes: Iterable[bytes]) -> None:
        """These codes instead of all before; none at all where there are no hashes."""
        await self._session.execute(delete(RecoveryCode).filter_by(user_id=user_id))
        rows = [{"user_id": user_id, "code_hash": code_hash} for code_hash in hashes]
        if rows:
            await self._session.execute(insert(RecoveryCode).values(rows))

    async def use_recovery_code(self, user_id: int, code_hash: bytes, now: datetime) -> bool:
        """Use a code up; whether there was such a one that was not used before."""
        query = update(RecoveryCode).filter_by(user_id=user_id, code_hash=code_hash, used_at=None)
        query = query.values(used_at=now).returning(RecoveryCode.user_id)
        return await self._session.scalar(query) is not None

    async def passkeys(self, user_id: int) -> Sequence[AnyRow]:
        """The person's passkeys, by id."""
        columns = [column for column in Passkey.__table__.columns if column.name != "public_key"]
        query = select(*columns).where(Passkey.user_id == user_id).order_by(Passkey.id)
        return (await self._session.execute(query)).all()

    async def add_passkey(self, **values: Any) -> AnyRow:
        """Insert; answers `id`, `name`, `is_backed_up`, `last_used_at`, `created_at`."""
        shown = (Passkey.id, Passkey.name, Passkey.is_backed_up, Passkey.last_used_at, Passkey.created_at)
        return (await self._session.execute(insert(Passkey).values(values).returning(*shown))).one()

    async def remove_passkey(self, user_id: int, passkey_id: int) -> bool:
        """Forget one of the person's passkeys; whether there was such a one."""
        query = delete(Passkey).filter_by(user_id=user_id, id=passkey_id).returning(Passkey.id)
        return await self._session.scalar(query) is not None

    async def remove_passkeys(self, user_id: int) -> None:
        """Forget all of them."""
        await self._session.execute(delete(Passkey).filter_by(user_id=user_id))

    async def passkey_owner(self, credential_id: bytes) -> int | None:
        """Whose passkey it is, whoever asks."""
        found: int | None = await self._session.scalar(_PASSKEY_OWNER, {"credential_id": credential_id})
        return found

    async def passkey(self, user_id: int, credential_id: bytes) -> AnyRow | None:
        """`id`, `public_key` and `sign_count` of one of the person's passkeys."""
        query = select(Passkey.id, Passkey.public_key, Passkey.sign_count)
        query = query.filter_by(user_id=user_id, credential_id=credential_id)
        return (await self._session.execute(query)).one_or_none()

    async def use_passkey(self, passkey_id: int, sign_count: int, now: datetime, *, is_backed_up: bool) -> bool:
        """Note a use; whether the count has risen since the last one, as it must where the device counts."""
        has_risen = (Passkey.sign_count < sign_count) | ((Passkey.sign_count == 0) & (sign_count == 0))
        query = update(Passkey).where(Passkey.id == passkey_id, has_risen)
        query = query.values(sign_count=sign_count, is_backed_up=is_backed_up, last_used_at=now)
        return await self._session.scalar(query.returning(Passkey.id)) is not None
