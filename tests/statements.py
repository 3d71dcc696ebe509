"""Statements that go to the driver itself, past SQLAlchemy's events."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import asyncpg


@contextmanager
def sent_past_sqlalchemy(note: Callable[[str], None]) -> Iterator[None]:
    """Tell of each of them within the block."""
    fetch = asyncpg.Connection.fetch

    async def noted(driver: asyncpg.Connection, statement: str, *values: Any, **options: Any) -> Any:
        note(statement)
        return await fetch(driver, statement, *values, **options)

    with patch.object(asyncpg.Connection, "fetch", noted):
        yield
