"""Connections: how they are pooled, what they may do, and the kinds of session that requests use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from health_services.database.browsing import Browsing
from health_services.database.opening import open_connection, settings_of
from health_services.database.sealing import Vault
from health_services.database.session import LeanSession
from health_services.errors import HealthServicesError

APPLICATION_ROLE = "health_app"


def make_engine(
    url: str,
    *,
    role: str | None = None,
    is_service: bool = False,
    is_read_only: bool = False,
    has_pooler: bool = False,
    statement_timeout_ms: int = 10_000,
    lock_timeout_ms: int = 0,
    connect_seconds: float = 5,
    **options: Any,
) -> AsyncEngine:
    """An engine whose connections work in UTC, are bounded in time, and act as `role` from their first statement.

    `is_service`: row-level security lets them see everybody's rows; for the worker and commands, never for requests.
    `has_pooler`: the URL may lead through a pooler; then statements come in transactions only.
    """
    settings = settings_of(
        role=role,
        is_service=is_service,
        is_read_only=is_read_only,
        statement_timeout_ms=statement_timeout_ms,
        lock_timeout_ms=lock_timeout_ms,
    )
    connect = partial(_connect, url, settings, has_pooler=has_pooler, seconds=connect_seconds)
    # Unnamed statements, and none of them kept: see `open_connection`.
    unnamed = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str} if has_pooler else {}

    def creator() -> Any:
        return engine.dialect.loaded_dbapi.connect(async_creator_fn=connect, **unnamed)

    engine = create_async_engine("postgresql+asyncpg://", creator=creator, **options)
    return engine


async def _connect(url: str, settings: dict[str, str], *, has_pooler: bool, seconds: float) -> Any:
    try:
        return await open_connection(url, settings, has_pooler=has_pooler, seconds=seconds)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # SQLAlchemy passes on what this raises as it is: starting up, shutting down, no connection left.
        raise ConnectionError(f"The database lets nobody in ({type(error).__name__}).") from error


class TogetherSession(LeanSession):
    """Stands for statements that stand alone, where a pooler bears transactions only.

    What they did is committed at the end of the block, also where one of our own errors ends it.
    """

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or isinstance(error, HealthServicesError):
                await self.commit()
        finally:
            await super().__aexit__(kind, error, trace)


Sessions = Callable[[], AsyncSession]


def _standing_alone(engine: AsyncEngine, info: Mapping[str, Any], *, has_pooler: bool) -> Sessions:
    if has_pooler:
        return partial(TogetherSession, engine, info)
    return partial(LeanSession, engine.execution_options(isolation_level="AUTOCOMMIT"), info, is_alone=True)


@dataclass(frozen=True)
class Database:
    """The application's connections; those of `engine` come first among the `engines`.

    `writing`: sessions with a transaction (READ COMMITTED, see docs/booking.md). `reading`: sessions in which each
    statement stands alone, without the two round trips that begin and end a transaction. `browsing`: the same for the
    public directory and nothing else, on connections of its own.
    """

    engine: AsyncEngine
    engines: tuple[AsyncEngine, ...]
    writing: Sessions
    reading: Sessions
    browsing: Browsing

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
        has_pooler: bool = False,
        replica_url: str | None = None,
        read_pool_size: int = 1,
    ) -> "Database":
        """Prepare a pool of at most `pool_size` connections; nothing is opened yet. `pool_timeout` is in seconds.

        Who reads or writes a sealed column needs the vault. A request's transaction sees nothing personal until it is
        said whom it acts for; with `is_service`, connections see everybody's rows. `read_pool_size` more connections
        are for browsing, and as many to the replica.
        """
        common: dict[str, Any] = {"role": role, "has_pooler": has_pooler, "connect_seconds": pool_timeout, **timeouts}
        common |= {"max_overflow": 0, "pool_timeout": pool_timeout}
        engine = make_engine(url, is_service=is_service, pool_size=pool_size, **common)
        info = {"vault": vault}
        urls = [url, replica_url] if replica_url else [url]
        readers = [make_engine(each, is_read_only=True, pool_size=read_pool_size, **common) for each in urls]
        return cls(
            engine=engine,
            engines=(engine, *readers),
            writing=partial(LeanSession, engine, info),
            reading=_standing_alone(engine, info, has_pooler=has_pooler),
            browsing=Browsing(*(_standing_alone(each, info, has_pooler=has_pooler) for each in readers)),
        )

    async def close(self) -> None:
        """Close every connection."""
        for engine in self.engines:
            await engine.dispose()
