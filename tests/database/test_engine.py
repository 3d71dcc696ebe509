"""What the application's connections rest on, whatever others have set."""

import asyncpg
from sqlalchemy import text

from health_services.database.engine import Database
from tests.servers import TestDatabase


async def _default(admin: asyncpg.Connection, change: str) -> None:
    name = await admin.fetchval("SELECT quote_ident(current_database())")
    await admin.execute(f"ALTER ROLE health_app IN DATABASE {name} {change}")


async def test_no_default_of_the_role_weakens_a_commit_or_changes_the_isolation(database: TestDatabase):
    admin = await asyncpg.connect(database.admin_url)
    try:
        await _default(admin, "SET synchronous_commit = off")
        await _default(admin, "SET default_transaction_isolation = serializable")
        application = Database.connect(database.app_url, role=None, pool_size=1, pool_timeout=5, timeouts={})
        async with application.writing() as session:
            commit = await session.scalar(text("SHOW synchronous_commit"))
            isolation = await session.scalar(text("SHOW transaction_isolation"))
        await application.close()
        assert (commit, isolation) == ("on", "read committed")
    finally:
        await _default(admin, "RESET ALL")
        await admin.close()
