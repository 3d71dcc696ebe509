"""The door to the driver beneath SQLAlchemy, for the statements that are run most.

SQLAlchemy takes several times what the driver does, and a statement whose text is always the same gains nothing from
it. What runs here belongs to the session's own transaction, its errors are those that SQLAlchemy would raise, and a
session may do both in any order.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncSession

_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_PLACE = "driver"


class Row(asyncpg.Record):  # type: ignore[misc]
    """A row whose columns are attributes, like SQLAlchemy's."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Statement:
    """SQL with `:name` for its values, as the driver takes it."""

    def __init__(self, text: str) -> None:
        self.names = tuple(dict.fromkeys(_NAMED.findall(text)))
        places = {name: f"${place}" for place, name in enumerate(self.names, 1)}
        self.text = _NAMED.sub(lambda found: places[found[1]], text)


async def fetch(session: AsyncSession, statement: Statement, values: Mapping[str, Any]) -> Sequence[Row]:
    """The rows of a statement; one round trip, and one more to begin where it is the transaction's first."""
    return await fetch_text(session, statement.text, *[values[name] for name in statement.names])


async def fetch_text(session: AsyncSession, query: str, *values: Any) -> Sequence[Row]:
    """The same for SQL with `$1`, `$2`, … that is put together."""
    try:
        driver = await _begun(session)
        rows: Sequence[Row] = await driver.fetch(query, *values, record_class=Row)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        await _part_from_the_dead(session, error)
        kind = DBAPIError if isinstance(error, asyncpg.PostgresError) else InterfaceError
        raise kind(query, None, error, hide_parameters=True) from error
    return rows


async def _part_from_the_dead(session: AsyncSession, error: Exception) -> None:
    """Let SQLAlchemy find out that a connection is closed: it then uses none of those that were open at that time.

    A connection that broke in the middle of something may not know that it is closed, and takes nothing more.
    """
    adapted: Any = (await (await session.connection()).get_raw_connection()).dbapi_connection
    if isinstance(error, asyncpg.InternalClientError):
        adapted.driver_connection.terminate()
    if adapted.driver_connection.is_closed():
        with suppress(DBAPIError):
            await session.execute(text("SELECT 1"))


async def _begun(session: AsyncSession) -> asyncpg.Connection:
    """The driver's connection of the session's transaction, which is begun if that was not done yet."""
    known = session.info.get(_PLACE)
    if known is not None and known[0] is session.sync_session.get_transaction():
        found: asyncpg.Connection = known[1]
        return found
    adapted: Any = (await (await session.connection()).get_raw_connection()).dbapi_connection
    driver: asyncpg.Connection = adapted.driver_connection
    if adapted._transaction is None and not adapted.autocommit:  # SQLAlchemy begins with its first statement
        transaction = driver.transaction()
        await transaction.start()
        adapted._transaction = transaction
    session.info[_PLACE] = session.sync_session.get_transaction(), driver
    return driver
