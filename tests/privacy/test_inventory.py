"""The one list of where personal data stands is whole: asked of the database's catalogue, column by column."""

import asyncpg

from health_services.privacy.holding import Emptied
from health_services.privacy.inventory import HOLDINGS, IMPERSONAL
from tests.privacy.test_export import naming

_COLUMNS = """SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"""
_COLUMNS_OF_ALL = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
# Every export names the person himself once.
IMPLIED = {"user_id", "patient_id"}


async def columns(owner: asyncpg.Connection, table: str) -> set[str]:
    return {row["attname"] for row in await owner.fetch(_COLUMNS, table)}


async def test_every_table_is_in_the_list_or_tells_of_nobody(owner: asyncpg.Connection):
    tables = {row["tablename"] for row in await owner.fetch(_COLUMNS_OF_ALL)}
    listed = [holding.table for holding in HOLDINGS]
    assert sorted([*listed, *IMPERSONAL]) == sorted(tables)
    assert not (await naming(owner)).keys() & IMPERSONAL.keys()


async def test_every_column_is_given_or_withheld_for_a_reason(owner: asyncpg.Connection):
    for holding in HOLDINGS:
        there = await columns(owner, holding.table)
        named = [*holding.shown, *holding.withheld]
        assert len(named) == len(set(named)), holding.table
        assert set(named) | IMPLIED >= there, holding.table
        assert set(named) <= there, holding.table
        assert all(holding.withheld.values())


async def test_every_column_is_emptied_or_stays(owner: asyncpg.Connection):
    for holding in HOLDINGS:
        if isinstance(holding.erasure, Emptied):
            named = [*holding.erasure.values, *holding.erasure.stays]
            assert sorted(named) == sorted(await columns(owner, holding.table)), holding.table


async def test_there_is_at_most_one_where_the_list_says_so(owner: asyncpg.Connection):
    for holding in HOLDINGS:
        if holding.is_single:
            unique = await owner.fetchval(
                """SELECT EXISTS (
                       SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                       WHERE i.indrelid = $1::regclass AND i.indisunique AND i.indnkeyatts = 1
                         AND a.attname IN ('user_id', 'id'))""",
                holding.table,
            )
            assert unique, holding.table
