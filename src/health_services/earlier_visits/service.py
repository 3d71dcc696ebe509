"""Planning the reminders of visits that a version without messages booked.

The worker does it beside its other work, so that an upgrade keeps nobody waiting. Processes of the older version may go
on booking while they are replaced one after the other: it looks again from time to time.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from health_services.database.engine import Database
from health_services.earlier_visits.repository import EarlierVisitRepository
from health_services.notifications.service import replan

LOOK_AGAIN_SECONDS = 3600.0


@dataclass
class EarlierVisits:
    """Where a lane of the worker finds patients whose reminders are to be planned: each job is an account's id.

    Any number of workers may do the same at once, and begin anew at any time: planning what is planned changes nothing.
    """

    database: Database
    clock: Callable[[], float] = time.monotonic
    _waiting: deque[int] = field(default_factory=deque, init=False)
    _look_at: float = field(default=-math.inf, init=False)

    async def take(self, limit: int) -> Sequence[int]:
        """Up to so many patients; all of them are looked for at first, and every hour."""
        if not self._waiting and self.clock() >= self._look_at:
            async with self.database.reading() as session:
                self._waiting.extend(await EarlierVisitRepository(session).patients())
            self._look_at = self.clock() + LOOK_AGAIN_SECONDS
        return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    async def carry_out(self, job: int) -> None:
        """Plan one patient's reminders that still lie ahead, in a transaction of their own."""
        async with self.database.writing() as session, session.begin():
            await replan(session, job, await EarlierVisitRepository(session).now())

    async def next_due(self) -> timedelta | None:
        """Nothing here is due at an instant."""
        return None
