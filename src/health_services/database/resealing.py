"""SQL of a key's rotation: which values are under which key, and their change in short transactions.

It runs with the owner's rights: the application may neither see every row nor change every one of these columns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.sealing import FORM, Sealed, key_of, vault_of
from health_services.errors import OperatorError, UnavailableException

AT_ONCE = 200
# Any number will do, as long as no other lock has it.
_LOCK = 5_318_008_271_828_182

# The names are those of our own models, never somebody's input.
# An empty text is what erasing leaves of one that may not be null.
_COUNT = """SELECT substring({column} FROM :form) AS key_id, count(*) AS values FROM {table}
            WHERE {column} <> '' GROUP BY 1"""
_OTHERS = "({column} <> '' AND substring({column} FROM :form) IS DISTINCT FROM :first)"
# Rows that somebody else is changing are left for the next pass, so that nobody waits for this, nor this for anybody.
_TAKE = """SELECT {key} AS row_id, {columns} FROM {table} WHERE {key} > :after AND ({others})
           ORDER BY {key} LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"""
_PUT = """UPDATE {table} AS kept SET {changes}
          FROM unnest(CAST(:row_ids AS bigint[]), {arrays}) AS given (row_id, {columns})
          WHERE kept.{key} = given.row_id"""
_HINDERED = text(
    """SELECT row_security_active(CAST(:table AS text))
              OR NOT has_column_privilege(CAST(:table AS text), CAST(:column AS text), 'UPDATE')"""
)


@dataclass(frozen=True)
class SealedTable:
    """A table with its one key column, a number, and its sealed columns."""

    name: str
    key: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Batch:
    """What became of some rows: the last one's id, values sealed anew, and values that could not be opened."""

    last_id: int
    resealed: int
    unreadable: int


def sealed_tables(metadata: MetaData) -> list[SealedTable]:
    """Every table with a column of the type Sealed, by name."""
    found = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        columns = tuple(column.name for column in table.columns if isinstance(column.type, Sealed))
        if columns:
            (key,) = table.primary_key.columns
            found.append(SealedTable(table.name, key.name, columns))
    return found


async def be_the_only_one(session: AsyncSession) -> None:
    """Keep others from rotating as long as this session's connection lasts; raises OperatorError where one does."""
    if not await session.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        raise OperatorError("The keys are being rotated by another command; wait for its end.")


async def insist_on_rights(session: AsyncSession, tables: Sequence[SealedTable]) -> None:
    """Raise OperatorError where rows are hidden from this database user, or cannot be changed by him."""
    for table in tables:
        for column in table.columns:
            if await session.scalar(_HINDERED, {"table": table.name, "column": column}):
                raise OperatorError(
                    "Rotating keys needs the database's owner, from whom no row is hidden: give his URL in "
                    "HEALTH_MIGRATION_DATABASE_URL, and let an administrator of the server run: "
                    "ALTER ROLE … BYPASSRLS;"
                )


async def count_by_key(session: AsyncSession, tables: Sequence[SealedTable]) -> Counter[str | None]:
    """How many values are under each key; None stands for clear text."""
    counts: Counter[str | None] = Counter()
    for table in tables:
        for column in table.columns:
            query = text(_COUNT.format(table=table.name, column=column))
            for row in await session.execute(query, {"form": FORM}):
                counts[row.key_id] += row.values
    return counts


async def reseal_some(session: AsyncSession, table: SealedTable, first: str, after: int) -> Batch | None:
    """Seal values of rows with a greater id than `after` under the first key; None if there is no such row."""
    names = ", ".join(table.columns)
    others = " OR ".join(_OTHERS.format(column=column) for column in table.columns)
    query = text(_TAKE.format(table=table.name, key=table.key, columns=names, others=others))
    values = {"form": FORM, "first": first, "after": after, "limit": AT_ONCE}
    rows = (await session.execute(query, values)).all()
    if not rows:
        return None
    given: dict[str, list[str | None]] = {column: [] for column in table.columns}
    resealed = unreadable = 0
    for row in rows:
        for column in table.columns:
            stored: str | None = getattr(row, column)
            if stored and key_of(stored) != first:
                try:
                    stored = _resealed(session, table.name, column, row.row_id, stored)
                    resealed += 1
                except UnavailableException:  # the log tells where
                    unreadable += 1
            given[column].append(stored)
    changes = ", ".join(f"{column} = given.{column}" for column in table.columns)
    arrays = ", ".join(f"CAST(:{column} AS varchar[])" for column in table.columns)
    put = text(_PUT.format(table=table.name, key=table.key, changes=changes, arrays=arrays, columns=names))
    await session.execute(put, {"row_ids": [row.row_id for row in rows], **given})
    return Batch(rows[-1].row_id, resealed, unreadable)


def _resealed(session: AsyncSession, table: str, column: str, row_id: int, stored: str) -> str:
    vault = vault_of(session)
    return vault.seal(table, column, row_id, vault.open(table, column, row_id, stored))
