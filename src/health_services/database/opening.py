"""Opening a connection: what holds for it from its first statement on, also behind a pooler."""

from typing import Any

import asyncpg


def driver_url(url: str) -> str:
    """The URL as PostgreSQL's own tools and asyncpg read it, whatever dialect it names."""
    return "postgresql://" + url.partition("://")[2]


def settings_of(
    *,
    role: str | None = None,
    is_service: bool = False,
    is_read_only: bool = False,
    statement_timeout_ms: int = 10_000,
    lock_timeout_ms: int = 0,
) -> dict[str, str]:
    """PostgreSQL's settings for each of our connections, as PostgreSQL itself writes them."""
    settings = {
        "application_name": "health-services",
        "TimeZone": "UTC",
        "jit": "off",
        # What the guards and the promise of a 201 rest on, whatever the role or the database has as its default.
        "default_transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "statement_timeout": f"{statement_timeout_ms}ms",
        "lock_timeout": f"{lock_timeout_ms}ms",
        "idle_in_transaction_session_timeout": "1min" if statement_timeout_ms else "0",
    }
    settings |= {"default_transaction_read_only": "on"} if is_read_only else {}
    return settings | ({"role": role} if role else {}) | ({"app.role": "service"} if is_service else {})


# The only ones that every pooler hands on.
_HANDED_ON = ("application_name", "TimeZone")


class PooledConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection through a pooler, which gives it to others after each transaction and drops what was asked for it.

    So each transaction says it again, in the very message that begins it.
    """

    beginning = "BEGIN;"

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        """As asyncpg's, which begins a transaction by this too."""
        told = self.beginning if query.startswith("BEGIN") else query
        return str(await super().execute(told, *args, **options))


async def open_connection(url: str, settings: dict[str, str], *, has_pooler: bool, seconds: float) -> Any:
    """A connection with these settings; with a pooler, in transactions only. Raises what asyncpg raises."""
    if not has_pooler:
        return await asyncpg.connect(driver_url(url), server_settings=settings, timeout=seconds)
    connection = await asyncpg.connect(
        driver_url(url),
        server_settings={name: settings[name] for name in _HANDED_ON},
        timeout=seconds,
        connection_class=PooledConnection,
        # A named statement would stay behind with whoever has the server's connection next.
        statement_cache_size=0,
    )
    said = [f"SET LOCAL {name} = '{value}';" for name, value in in_transaction(settings).items()]
    connection.beginning = f"BEGIN;{''.join(said)}"
    return connection


def in_transaction(settings: dict[str, str]) -> dict[str, str]:
    """The same by the names that they have once a transaction has begun."""
    return {name.removeprefix("default_"): value for name, value in settings.items()}


_LOST = """SELECT name FROM unnest($1::text[], $2::text[]) AS asked (name, value)
           WHERE current_setting(name, true) IS DISTINCT FROM value"""


async def lost_settings(url: str, *, role: str | None, has_pooler: bool) -> list[str]:
    """Which of the settings that our connections ask for do not hold, since something in between drops them.

    Raises OSError or asyncpg's errors where nobody answers.
    """
    # Such times that nobody has them by chance.
    settings = settings_of(role=role, statement_timeout_ms=9_999, lock_timeout_ms=4_999)
    expected = in_transaction(settings)
    try:
        connection = await open_connection(url, settings, has_pooler=has_pooler, seconds=10)
    except asyncpg.PostgresError as error:
        if "startup parameter" in str(error):
            return list(expected)
        raise
    try:
        async with connection.transaction():
            return [row["name"] for row in await connection.fetch(_LOST, list(expected), list(expected.values()))]
    finally:
        await connection.close()
