"""Letting go of the connection in the middle of a request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, act_as


@asynccontextmanager
async def released(session: AsyncSession, caller: Caller) -> AsyncIterator[None]:
    """Hold no connection within the block, for as long as others take to answer; then act for the caller again.

    Nothing may have been written before. Of two requests with one idempotency key that come this far together, the
    second is undone when its answer is to be kept. Raises AuthenticationException if he has been signed out meanwhile.
    """
    await session.rollback()
    yield
    await act_as(session, caller.id, caller.session_id, caller.trail)
