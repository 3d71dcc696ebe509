"""SQL of the users table."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.users.models import Role, User

_CREDENTIALS = text("SELECT * FROM credentials_of(:email)")
_SAME_PASSWORD = text("SELECT set_config('app.is_rehash', 'on', true)")
_FIRST_ADMIN_LOCK = 7_310_842_118_355


class UserRepository:
    """Accounts, by id and by e-mail (which is stored in lower case)."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user: User) -> User:
        """Insert; the unique index on e-mail refuses a second one."""
        self._session.add(user)
        await self._session.flush()
        return user

    async def credentials(self, email: str) -> AnyRow | None:
        """`id`, `password_hash`, `is_active` and `is_verified` of the account with this e-mail, whoever asks."""
        return (await self._session.execute(_CREDENTIALS, {"email": email})).one_or_none()

    async def get(self, user_id: int) -> AnyRow | None:
        """`id`, `name`, `role` and `is_active` of a user."""
        query = select(User.id, User.name, User.role, User.is_active).where(User.id == user_id)
        return (await self._session.execute(query)).one_or_none()

    async def hold(self, user_id: int) -> AnyRow | None:
        """The same, and until the transaction ends nobody changes the account."""
        query = select(User.id, User.name, User.role, User.is_active).where(User.id == user_id)
        return (await self._session.execute(query.with_for_update(read=True))).one_or_none()

    async def record_login(self, user_id: int, now: datetime) -> AnyRow:
        """Set `last_login`; answers it, and `updated_at`."""
        query = update(User).where(User.id == user_id).values(last_login=now)
        return (await self._session.execute(query.returning(User.last_login, User.updated_at))).one()

    async def renew_hash(self, user_id: int, new_hash: str, old_hash: str) -> None:
        """Another hash of the same password, since its cost has changed: that ends no session."""
        await self._session.execute(_SAME_PASSWORD)
        query = update(User).where(User.id == user_id, User.password_hash == old_hash)
        await self._session.execute(query.values(password_hash=new_hash))

    async def password_hash(self, user_id: int) -> str | None:
        """The hash of this account's password."""
        found: str | None = await self._session.scalar(select(User.password_hash).where(User.id == user_id))
        return found

    async def change_password(self, user_id: int, new_hash: str, old_hash: str | None) -> bool:
        """Set the password, which ends every session; False if it is not the one with `old_hash` any more."""
        query = update(User).where(User.id == user_id, User.password_hash.is_not_distinct_from(old_hash))
        changed = await self._session.execute(query.values(password_hash=new_hash).returning(User.id))
        return changed.one_or_none() is not None

    async def verify_email(self, user_id: int) -> None:
        """The address has been shown to be the person's."""
        await self._session.execute(update(User).where(User.id == user_id).values(is_verified=True))

    async def change(self, email: str, **values: Any) -> int | None:
        """Change the account with this e-mail; answers its id, None if there is none."""
        query = update(User).where(User.email == email).values(**values).returning(User.id)
        return await self._session.scalar(query)

    async def has_admin(self, *, lock: bool = False, besides: int | None = None) -> bool:
        """Whether anybody runs the region; with `lock`, two who ask and then change that do so in turn.

        With `besides`, whether somebody does who is not that account, and who could sign in.
        """
        if lock:
            await self._session.execute(select(func.pg_advisory_xact_lock(_FIRST_ADMIN_LOCK)))
        query = select(User.id).where(User.role == Role.ADMIN, User.is_active).limit(1)
        if besides is not None:
            query = query.where(User.id != besides, User.password_hash.is_not(None))
        return await self._session.scalar(query) is not None
