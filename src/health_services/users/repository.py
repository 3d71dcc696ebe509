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

    async def record_login(self, user_id: int, now: datetime, new_hash: str | None) -> None:
        """Set `last_login`, and the password's hash where its cost has changed, which ends no session."""
        if new_hash:
            await self._session.execute(_SAME_PASSWORD)
        values: dict[str, Any] = {"last_login": now} | ({"password_hash": new_hash} if new_hash else {})
        await self._session.execute(update(User).where(User.id == user_id).values(values))

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
