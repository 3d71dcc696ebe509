"""How the application's statements are carried out among many rows, as PostgreSQL explains it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import asyncpg
from fastapi import FastAPI
from sqlalchemy import Connection, event, text

from health_services.database.engine import Database
from tests.factories import Person

BIG = (
    "appointment_slots", "appointments", "users", "doctors", "patients", "notifications", "audit_log", "sessions",
    "idempotency_keys", "webhook_deliveries",
)  # fmt: skip
# PostgreSQL may take another plan for a statement that it knows: from the sixth time on.
TIMES = 6


@dataclass
class Region:
    """The application in the crowd, and how each statement that it sends to the database would be carried out."""

    app: FastAPI
    owner: asyncpg.Connection
    people: dict[str, Person]
    values: dict[str, Any]
    plans: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def explained(self, *databases: Database) -> Iterator[None]:
        """Explain each statement just before it is carried out: in its transaction, for whom that acts, as it is."""
        engines = [engine.sync_engine for database in databases for engine in database.engines]

        def explain(connection: Connection, _: Any, statement: str, parameters: Any, *__: Any) -> None:
            if not statement.startswith("EXPLAIN"):
                rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
                self.plans.append((statement, "\n".join(rows)))

        fetch = asyncpg.Connection.fetch

        async def note(driver: asyncpg.Connection, statement: str, values: Sequence[Any]) -> None:
            rows = await fetch(driver, f"EXPLAIN {statement}", *values)
            self.plans.append((statement, "\n".join(row[0] for row in rows)))

        async def explained(driver: asyncpg.Connection, statement: str, *values: Any, **options: Any) -> Any:
            await note(driver, statement, values)
            return await fetch(driver, statement, *values, **options)

        executemany = asyncpg.Connection.executemany

        async def explained_once(driver: asyncpg.Connection, statement: str, rows: Any, **options: Any) -> None:
            given = list(rows)
            await note(driver, statement, given[0])
            await executemany(driver, statement, given, **options)

        self.plans.clear()
        for engine in engines:
            event.listen(engine, "before_cursor_execute", explain)
        # what does not go through SQLAlchemy
        with (
            patch.object(asyncpg.Connection, "fetch", explained),
            patch.object(asyncpg.Connection, "executemany", explained_once),
        ):
            yield
        for engine in engines:
            event.remove(engine, "before_cursor_execute", explain)

    async def read_whole(self, *databases: Database) -> dict[str, int]:
        """How often each big table was, as the server counts it, also by triggers and in functions."""
        for engine in (engine for database in databases for engine in database.engines):
            async with engine.connect() as connection:
                await connection.execute(text("SELECT pg_stat_force_next_flush()"))
                await connection.commit()
        await self.owner.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY ($1)"
        return {row["relname"]: row["seq_scan"] for row in await self.owner.fetch(query, BIG)}


def whole(plan: str) -> list[str]:
    """The big tables that a plan reads whole."""
    return [table for table in BIG if f"Seq Scan on {table}" in plan]
