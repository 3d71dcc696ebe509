"""Bringing the schema to this version's head, and telling whether it is there."""

import asyncio
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from health_services.database.engine import make_engine

# Any number will do, as long as everybody who migrates takes the same.
_MIGRATION_LOCK = 4_231_989_772_014_887


def _scripts() -> Path:
    packaged = Path(__file__).resolve().parents[1] / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "migrations"


def revisions() -> list[str]:
    """All revisions of this version, the newest first: what stands before the first _ of each file's name."""
    return sorted((path.name.partition("_")[0] for path in (_scripts() / "versions").glob("[0-9]*.py")), reverse=True)


async def current_revision(connection: AsyncConnection) -> str | None:
    """The database's revision; None for a database that was never migrated."""
    exists = await connection.scalar(text("SELECT to_regclass('public.alembic_version') IS NOT NULL"))
    return await connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None


def is_current(revision: str | None, known: list[str]) -> bool:
    """Whether the schema is at least at head: there, or at one that a newer version of this program made."""
    return revision is not None and (revision == known[0] or revision not in known)


async def migrate(url: str, target: str = "head") -> None:
    """Bring the database of the owner's `url` to `target`: up to head or a revision, down to base or -1.

    A schema that is newer than this version is left alone.

    Two that migrate at once go one after the other.
    """
    engine = make_engine(url, poolclass=NullPool, statement_timeout_ms=0)
    try:
        async with engine.connect() as connection:
            # Asked for again and again: who waited inside a statement would hold a snapshot, and an index that is made
            # beside requests waits for everybody who holds an older one.
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _MIGRATION_LOCK}):
                await connection.rollback()
                await asyncio.sleep(0.1)
            await connection.commit()
            known = revisions()
            if target != "head" or not is_current(await current_revision(connection), known):
                await connection.rollback()
                await connection.run_sync(_run, target)
    finally:
        await engine.dispose()


def _run(connection: Connection, target: str) -> None:
    # Alembic is slow to load, and a database that is current, as at almost every start, does not need it.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    if target in {"head", *revisions()}:
        command.upgrade(config, target)
    else:
        command.downgrade(config, target)
