"""Reading the public directory, from a replica where there is one that answers."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.constraints import translate
from health_services.errors import ValidationException

# A replica that needs longer is as good as away; and so long after it was away it is asked again.
PATIENCE_SECONDS = 3.0
PAUSE_SECONDS = 5.0

T = TypeVar("T")
Look = Callable[[AsyncSession], Awaitable[T]]
Sessions = Callable[[], AsyncSession]

log = structlog.get_logger("health_services.database")


class Browsing:
    """Sessions for public reads: the replica's as long as it answers, else those of the main database.

    What a replica shows is as old as the last change that it has heard of.
    """

    def __init__(self, main: Sessions, replica: Sessions | None = None) -> None:
        self._main = main
        self._replica = replica
        self._away_until: float | None = None

    async def read(self, look: Look[T], *, from_main: bool = False) -> T:
        """What `look` finds; where the replica fails, it looks once more in the main database.

        `from_main`: who may have changed something a moment ago is to see it.
        """
        if self._replica is None or from_main or not self._is_its_turn():
            return await _looked(look, self._main)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await _looked(look, self._replica)
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            if not isinstance(translate(error), ValidationException):
                self._is_away(error)
            return await _looked(look, self._main)
        self._is_there()
        return found

    def _is_its_turn(self) -> bool:
        if self._away_until is None:
            return True
        now = monotonic()
        if now < self._away_until:
            return False
        self._away_until = now + PAUSE_SECONDS  # one goes and looks, and nobody waits for him
        return True

    def _is_away(self, error: Exception) -> None:
        if self._away_until is None:
            log.warning("the replica does not answer; the main database does", reason=type(error).__name__)
        self._away_until = monotonic() + PAUSE_SECONDS

    def _is_there(self) -> None:
        if self._away_until is not None:
            self._away_until = None
            log.warning("the replica answers again")


async def _looked(look: Look[T], sessions: Sessions) -> T:
    async with sessions() as session:
        return await look(session)
