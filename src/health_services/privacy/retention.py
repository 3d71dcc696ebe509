"""Forgetting what is old, and what was left of people who are erased: a lane of the worker.

Each piece of work is a short transaction of its own that waits for nobody, and any number of workers may do the same at
once. Whatever is done twice changes nothing.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from sqlalchemy import TextClause

from health_services.database import idempotency
from health_services.database.engine import Database
from health_services.privacy import forgetting, stored_mails
from health_services.privacy.repository import PrivacyRepository
from health_services.privacy.service import forget

AT_ONCE = 1000
HOUR, MINUTE = 3600.0, 60.0
# Requests that were under way while somebody was erased may have added something to him; they end long before this.
JUST_NOW = timedelta(minutes=10)
# By then webhooks were told of his cancelled visits, or never will be.
LATELY = timedelta(days=30)


@dataclass(frozen=True)
class Periods:
    """For how long it is kept: what messages said, what webhooks were sent, sessions that are over."""

    messages: timedelta
    deliveries: timedelta
    sessions: timedelta


class Chore(StrEnum):
    """What is to be done from time to time."""

    ANSWERS = "answers"
    ENDED_SESSIONS = "ended sessions"
    EXPIRED_SESSIONS = "expired sessions"
    ONE_TIME_TOKENS = "one-time tokens"
    MESSAGES = "messages"
    DELIVERIES = "deliveries"
    UNSENT_DELIVERIES = "unsent deliveries"
    OLD_MAILS = "old mails"
    JUST_ERASED = "just erased"
    ERASED = "erased"


@dataclass
class Retention:
    """Where a lane of the worker finds its chores; `mails` is the folder of mails that are kept as files.

    A chore that found all that it takes at once is due again immediately, one that failed after a minute.
    """

    database: Database
    periods: Periods
    mails: Path
    clock: Callable[[], float] = time.monotonic
    _due: dict[Chore, float] = field(default_factory=lambda: dict.fromkeys(Chore, -math.inf), init=False)

    async def take(self, limit: int) -> Sequence[Chore]:
        """Up to so many chores that are due."""
        now = self.clock()
        due = [chore for chore, at in self._due.items() if at <= now][:limit]
        self._due.update(dict.fromkeys(due, now + MINUTE))
        return due

    async def carry_out(self, job: Chore) -> None:
        """Do as much of a chore as one short transaction takes."""
        if job in {Chore.JUST_ERASED, Chore.ERASED}:
            await self._finish_erasing(JUST_NOW if job is Chore.JUST_ERASED else LATELY)
            done = 0
        elif job is Chore.OLD_MAILS:
            done = await self._remove_old_mails()
        else:
            done = await self._forget_old(job)
        wait = 0.0 if done >= AT_ONCE else MINUTE if job is Chore.JUST_ERASED else HOUR
        self._due[job] = self.clock() + wait

    async def next_due(self) -> timedelta | None:
        """How long until the next chore is due."""
        return timedelta(seconds=max(0.0, min(self._due.values()) - self.clock()))

    async def _forget_old(self, chore: Chore) -> int:
        async with self.database.writing() as session, session.begin():
            if chore is Chore.ANSWERS:
                return await idempotency.purge(session, AT_ONCE)
            what, keep = self._old(chore)
            return await forgetting.forget_old(session, what, keep, AT_ONCE)

    def _old(self, chore: Chore) -> tuple[TextClause, timedelta]:
        periods = self.periods
        return {
            Chore.ENDED_SESSIONS: (forgetting.ENDED_SESSIONS, periods.sessions),
            Chore.EXPIRED_SESSIONS: (forgetting.EXPIRED_SESSIONS, periods.sessions),
            Chore.ONE_TIME_TOKENS: (forgetting.ONE_TIME_TOKENS, timedelta(days=1)),
            Chore.MESSAGES: (forgetting.MESSAGES, periods.messages),
            Chore.DELIVERIES: (forgetting.DELIVERIES, periods.deliveries),
            Chore.UNSENT_DELIVERIES: (forgetting.UNSENT_DELIVERIES, periods.deliveries),
        }[chore]

    async def _remove_old_mails(self) -> int:
        keep = self.periods.messages.total_seconds()
        old = await asyncio.to_thread(stored_mails.old, self.mails, time.time(), keep)
        return await asyncio.to_thread(stored_mails.remove, old[:AT_ONCE])

    async def _finish_erasing(self, within: timedelta) -> None:
        """Forget what came in while people were erased, and the mails to them that are kept as files."""
        async with self.database.reading() as session:
            repository = PrivacyRepository(session)
            people, now = await repository.erased(within), await repository.now()
        for person in people:
            async with self.database.writing() as session, session.begin():
                await forget(session, person, now)
        if people or within is LATELY:
            await self._remove_mails_of_erased()

    async def _remove_mails_of_erased(self) -> None:
        files = await asyncio.to_thread(stored_mails.by_message, self.mails)
        numbers = sorted(files)
        for start in range(0, len(numbers), AT_ONCE):
            async with self.database.reading() as session:
                found = await PrivacyRepository(session).of_erased(numbers[start : start + AT_ONCE])
            await asyncio.to_thread(stored_mails.remove, [path for number in found for path in files[number]])
