"""Connections: how they are opened, what they may do, and the two kinds of session that requests use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from health_services.database.sealing import Vault

APPLICATION_ROLE = "health_app"


def driver_url(url: str) -> str:
    """The URL as PostgreSQL's own tools and asyncpg read it, whatever dialect it names."""
    return "postgresql://" + url.partition("://")[2]


def make_engine(
    url: str,
    *,
    role: str | None = None,
    is_service: bool = False,
    statement_timeout_ms: int = 10_000,
    lock_timeout_ms: int = 0,
    connect_seconds: float = 5,
    **options: Any,
) -> AsyncEngine:
    """An engine whose connections work in UTC, are bounded in time, and act as `role` from their first statement.

    `is_service`: row-level security lets them see everybody's rows; for the worker and commands, never for requests.
    """
    settings = {
        "application_name": "health-services",
        "TimeZone": "UTC",
        "jit": "off",
        # What the guards and the promise of a 201 rest on, whatever the role or the database has as its default.
        "default_transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
        "idle_in_transaction_session_timeout": "60000" if statement_timeout_ms else "0",
    }
    settings |= ({"role": role} if role else {}) | ({"app.role": "service"} if is_service else {})
    dsn = driver_url(url)

    async def connect() -> Any:
        try:
            return await asyncpg.connect(dsn, server_settings=settings, timeout=connect_seconds)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # SQLAlchemy passes on what this raises as it is: starting up, shutting down, no connection left.
            raise ConnectionError(f"The database lets nobody in ({type(error).__name__}).") from error

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


@dataclass(frozen=True)
class Database:
    """The application's connections.

    `writing`: sessions with a transaction (READ COMMITTED, see docs/booking.md). `reading`: sessions in which each
    statement stands alone, without the two round trips that begin and end a transaction.
    """

    engine: AsyncEngine
    writing: async_sessionmaker[AsyncSession]
    reading: async_sessionmaker[AsyncSession]

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        role: str | None,
        pool_size: int,
        pool_timeout: float,
        timeouts: Mapping[str, int],
        vault: Vault | None = None,
        is_service: bool = False,
    ) -> "Database":
        """Prepare a pool of at most `pool_size` connections; nothing is opened yet. `pool_timeout` is in seconds.

        Who reads or writes a sealed column needs the vault. A request's transaction sees nothing personal until it is
        said whom it acts for; with `is_service`, connections see everybody's rows.
        """
        engine = make_engine(
            url,
            role=role,
            is_service=is_service,
            connect_seconds=pool_timeout,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            **timeouts,
        )
        alone = engine.execution_options(isolation_level="AUTOCOMMIT")
        return cls(
            engine=engine,
            writing=async_sessionmaker(engine, expire_on_commit=False, info={"vault": vault}),
            reading=async_sessionmaker(alone, expire_on_commit=False, info={"vault": vault}),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()
