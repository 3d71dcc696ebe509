"""Acting as the service itself for a few statements, where a caller rightly causes what he cannot see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_TAKE = text("SELECT COALESCE(current_setting('app.role', true), ''), set_config('app.role', 'service', true)")
_GIVE_BACK = text("SELECT set_config('app.role', :role, true)")


@asynccontextmanager
async def as_service(session: AsyncSession) -> AsyncIterator[None]:
    """Let row-level security pass the transaction's statements in the block; two round trips.

    For what has no caller yet (registering) or makes something that its maker does not see afterwards (staff entering
    a person). Whoever uses it has checked the permission himself; docs/security.md names every place.
    """
    before = (await session.execute(_TAKE)).one()[0]
    yield
    # after an error the transaction is undone, and its context with it
    await session.execute(_GIVE_BACK, {"role": before})
