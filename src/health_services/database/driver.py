"""The door to the driver beneath SQLAlchemy, for the statements that are run most.

SQLAlchemy takes several times what the driver does, and a statement whose text is always the same gains nothing from
it. What runs here belongs to the session's own transaction, its errors are those that SQLAlchemy would raise, and a
session may do both in any order.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.session import FAILURES, LeanSession

_NAMED = re.compile(r"(?<!:):([a-z_]+)")


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


statement = cache(Statement)


async def fetch(session: AsyncSession, statement: Statement, values: Mapping[str, Any]) -> Sequence[Row]:
    """The rows of a statement; one round trip, and one more to begin where it is the transaction's first."""
    return await fetch_text(session, statement.text, *[values[name] for name in statement.names])


async def execute_all(session: AsyncSession, statement: Statement, rows: Iterable[Mapping[str, Any]]) -> None:
    """A statement for each of these, all or none; one round trip, however many there are."""
    assert isinstance(session, LeanSession)
    try:
        driver = await session.driver()
        await driver.executemany(statement.text, [[row[name] for name in statement.names] for row in rows])
    except FAILURES as error:
        raise await session.refused(error) from error


async def fetch_text(session: AsyncSession, query: str, *values: Any) -> Sequence[Row]:
    """The same for SQL with `$1`, `$2`, … that is put together."""
    assert isinstance(session, LeanSession)
    try:
        driver = await session.driver()
        rows: Sequence[Row] = await driver.fetch(query, *values, record_class=Row)
    except FAILURES as error:
        raise await session.refused(error) from error
    return rows
