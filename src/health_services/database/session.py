"""A session of which only as much is made as is used."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import asyncpg
from sqlalchemy import Connection, PoolProxiedConnection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session
from sqlalchemy.util import greenlet_spawn

# What a session knows of writes that wait for the commit (database/postponed.py).
POSTPONED = "postponed"
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class LeanSession(AsyncSession):
    """An AsyncSession that goes without SQLAlchemy's own as long as only the driver is asked.

    To make that, and to let it begin, commit and end, takes as long as several statements. Whatever else is asked of
    the session makes it, on the connection and in the transaction that the driver has. `is_alone`: each statement
    stands alone, in a transaction of its own.
    """

    def __init__(self, engine: AsyncEngine, info: Mapping[str, Any], *, is_alone: bool = False) -> None:
        # nothing of AsyncSession's: all that it would do is to make the other session
        self._engine = engine.sync_engine
        self._is_alone = is_alone
        self._info = dict(info)
        self._held: PoolProxiedConnection | None = None
        self._bound: Connection | None = None
        self._whole: Session | None = None

    @property
    def info(self) -> dict[Any, Any]:
        """What belongs to this session, whichever part of it asks."""
        return self._info

    @property
    def sync_session(self) -> Session:  # type: ignore[override]
        """SQLAlchemy's own session, which is made when it is asked for."""
        if self._whole is None:
            if self._held is not None:
                self._bound = Connection(self._engine, connection=self._held)
            self._whole = self._assign_proxied(Session(self._bound or self._engine, expire_on_commit=False))
            self._whole.info = self._info
        return self._whole

    @property
    def _proxied(self) -> Session:  # type: ignore[override]
        return self.sync_session

    async def driver(self) -> asyncpg.Connection:
        """The driver's connection of the session's transaction, which is begun if that was not done yet."""
        adapted = await self._adapted()
        driver: asyncpg.Connection = adapted.driver_connection
        if adapted._transaction is None and not self._is_alone and not adapted.autocommit:
            transaction = driver.transaction()  # SQLAlchemy would begin with its first statement
            try:
                await transaction.start()
            except asyncio.CancelledError:  # nobody knows whether it has begun
                await self._discard()
                raise
            adapted._transaction = transaction
        return driver

    async def _adapted(self) -> Any:
        """The connection as SQLAlchemy has it: the driver's, and whether a transaction has begun on it."""
        if self._held is None:
            if self._whole is not None:
                return (await (await self.connection()).get_raw_connection()).dbapi_connection
            return self._keep(await greenlet_spawn(self._engine.pool.connect)).dbapi_connection
        return self._held.dbapi_connection

    def _keep(self, held: PoolProxiedConnection) -> PoolProxiedConnection:
        if self._held is not None:  # two tasks began at once, which they must not
            held.close()
            return self._held
        self._held = held
        return held

    async def _discard(self) -> None:
        """Let nobody have this connection any more: a transaction that is open on it would act for whoever began it."""
        if self._held is None:
            await self.invalidate()
        elif self._held.is_valid:
            self._held.invalidate()

    def begin(self) -> AsyncSessionTransaction:
        """As ever; raises InvalidRequestError where the driver has begun a transaction: nobody would end that one."""
        self._insist_that_none_has_begun()
        return super().begin()

    def begin_nested(self) -> AsyncSessionTransaction:
        """The same for a savepoint."""
        self._insist_that_none_has_begun()
        return super().begin_nested()

    def _insist_that_none_has_begun(self) -> None:
        if self._held is not None:
            raise InvalidRequestError("The driver has begun a transaction on this session already.")

    async def commit(self) -> None:
        """Commit; raises DBAPIError for what the database finds at the last moment."""
        if self._whole is not None or self._info.get(POSTPONED):
            await self._commit_whole()
        await self._end("commit")

    async def _commit_whole(self) -> None:
        """Commit on SQLAlchemy's way, on which it tells others that it is about to."""
        _ = self.sync_session
        await super().commit()

    async def rollback(self) -> None:
        """Undo the transaction."""
        self._info.pop(POSTPONED, None)
        if self._whole is not None:
            await super().rollback()
        await self._end("rollback")

    async def close(self) -> None:
        """Undo what was not committed, and give the connection back."""
        if self._whole is not None:
            await super().close()
        await self._end("rollback")
        self._whole = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._whole is not None or (self._held is not None and (error is not None or not self._is_alone)):
            await super().__aexit__(kind, error, trace)
        else:
            self._give_back()

    async def _end(self, how: str) -> None:
        """End the driver's transaction, if there is one, and give back a connection that nobody else has."""
        if self._held is None:
            return
        adapted: Any = self._held.dbapi_connection
        transaction = getattr(adapted, "_transaction", None)
        try:
            if transaction is not None:
                adapted._transaction = None
                await getattr(transaction, how)()
        except FAILURES as error:
            refused = await self.refused(error)
            if how == "rollback" or isinstance(error, asyncpg.InterfaceError):  # so the transaction may go on
                await self._discard()
            raise refused from error
        except asyncio.CancelledError:  # nobody knows what it is doing now
            await self._discard()
            raise
        else:
            await self._part()

    async def _part(self) -> None:
        """Give the connection back; what is asked of SQLAlchemy's session from now on finds one of its own."""
        if self._bound is not None and self._whole is not None:
            await greenlet_spawn(self._bound.close)
            self._whole.bind = self._engine
            self._held = self._bound = None
        else:
            self._give_back()

    def _give_back(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        adapted: Any = held.dbapi_connection
        if adapted is not None and adapted.driver_connection.is_in_transaction():  # whatever went wrong, nobody has it
            held.invalidate()
        else:
            held.close()

    async def refused(self, error: Exception) -> DBAPIError:
        """What SQLAlchemy would raise for what the driver raised; a connection that is broken is parted from."""
        await self._part_from_the_dead(error)
        kind = DBAPIError if isinstance(error, asyncpg.PostgresError) else InterfaceError
        return kind(None, None, error, hide_parameters=True)

    async def _part_from_the_dead(self, error: Exception) -> None:
        """Let SQLAlchemy find out that a connection is closed: it then uses none of those that were open at that time.

        A connection that broke in the middle of something may not know that it is closed, and takes nothing more.
        """
        adapted = await self._adapted()
        if adapted is None:  # parted from already
            return
        if isinstance(error, asyncpg.InternalClientError):
            adapted.driver_connection.terminate()
        if adapted.driver_connection.is_closed():
            with suppress(DBAPIError):
                await self.execute(text("SELECT 1"))
