"""Sending what the ledger holds, one message at a time: decide, put into words, send, write down.

The claim is committed before anything is sent, and what became of it afterwards: a crash in between repeats the
message and never loses it. No transaction is open while a gateway is spoken to.
"""

import math
import random
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import orjson
import structlog
from sqlalchemy.exc import DBAPIError

from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.notifications import deciding
from health_services.notifications.deciding import ATTEMPTS, Decision, Step
from health_services.notifications.enclosures import ENCLOSED
from health_services.notifications.models import MAILED_KINDS, Channel, Kind, State
from health_services.notifications.planning import Contact, Message
from health_services.notifications.repository import LEASE, Ended, NotificationRepository
from health_services.notifications.service import replan
from health_services.outgoing.errors import NotNow, SendingFailed

log = structlog.get_logger("health_services.messages")


class Carrier(Protocol):
    """Puts a row of the ledger into words and hands it to a gateway."""

    async def carry(self, row: AnyRow) -> None:
        """Send it; raises SendingFailed."""


@dataclass(frozen=True)
class Sender:
    """One channel's messages; `luck` from 0 to 1 spreads the retries."""

    database: Database
    channel: Channel
    carrier: Carrier
    lease: timedelta = LEASE
    luck: Callable[[], float] = random.random
    # Until when what was claimed may be begun, by a clock that nobody sets; by message and attempt.
    _begin_until: dict[tuple[int, int], float] = field(default_factory=dict, init=False, repr=False)

    async def take(self, limit: int) -> Sequence[AnyRow]:
        """Claim up to so many messages that are due."""
        begin_until = time.monotonic() + self.lease.total_seconds() / 2
        async with self.database.reading() as session:
            rows = await NotificationRepository(session).take(self.channel, limit, self.lease)
        self._begin_until.update(((row.id, row.attempts), begin_until) for row in rows)
        return rows

    async def next_due(self) -> timedelta | None:
        """How long until there is something to do; None if nothing waits."""
        async with self.database.reading() as session:
            return await NotificationRepository(session).next_due(self.channel)

    async def carry_out(self, row: AnyRow) -> None:
        """Do what is right with one claimed message; whatever happens to it happens to no other.

        One that waited for half of its claim, since this process or the machine stood still, is left alone: somebody
        else may have it before it would be out.
        """
        if time.monotonic() > self._begin_until.pop((row.id, row.attempts), math.inf):
            log.warning("a claim has run out before its message was begun", notification=row.id)
            return
        try:
            decision = deciding.decide(row)
            if decision.step is not Step.SEND:
                await self._follow(row, decision)
                return
            async with self.database.reading() as session:
                if not await NotificationRepository(session).is_still_wanted(row):
                    return  # cancelled while it waited for its turn
            await self.carrier.carry(row)
        except SendingFailed as failure:
            log.warning("not sent", channel=row.channel, notification=row.id, reason=failure.reason)
            await self._failed(row, failure)
            return
        except DBAPIError:
            raise  # the claim ends by itself, and then it is tried again
        except Exception as error:
            _log_crash(row, error)
            await self._failed(row, NotNow(f"an error of our own ({type(error).__name__})"))
            return
        async with self.database.reading() as session:
            await NotificationRepository(session).mark_sent(row.id)

    async def _follow(self, row: AnyRow, decision: Decision) -> None:
        async with self.database.writing() as session, session.begin():
            notifications = NotificationRepository(session)
            match decision:
                case Decision(Step.WAIT, reason, datetime() as until):
                    await notifications.put_off(row, until, reason, is_attempt=False)
                case Decision(Step.REPLAN, reason):
                    await replan(session, row.user_id, row.now, instead_of=Ended(row.id, row.attempts, reason))
                case Decision(Step.REROUTE, reason):
                    await self._pass_on(notifications, row, State.SKIPPED, reason)
                case Decision(Step.GIVE_UP, reason):
                    await self._pass_on(notifications, row, State.FAILED, reason)
                case Decision(Step.CALL, reason):
                    await notifications.end(row, State.FAILED, reason, is_unreachable=True)
                case Decision(Step.SKIP, reason):
                    await notifications.end(row, State.SKIPPED, reason)

    async def _failed(self, row: AnyRow, failure: SendingFailed) -> None:
        """Try again later; or give it up, and go on with the person's next channel where there is one."""
        async with self.database.writing() as session, session.begin():
            notifications = NotificationRepository(session)
            if isinstance(failure, NotNow) and row.attempts < ATTEMPTS:
                again_at = row.now + deciding.pause(row.attempts, self.luck(), failure.retry_after)
                if row.expires_at is None or again_at < row.expires_at:
                    await notifications.put_off(row, again_at, failure.reason)
                    return
            await self._pass_on(notifications, row, State.FAILED, failure.reason)

    async def _pass_on(self, notifications: NotificationRepository, row: AnyRow, state: State, reason: str) -> None:
        """End it here, and let the person's next channel have it; whom none is left for is to be called."""
        if not await notifications.end(row, state, reason):
            return
        for channel in Contact.read(row.contact).usable(Kind(row.kind), after=self.channel):
            if await notifications.add(replace(_message(row), channel=channel).row()):
                return
        if Kind(row.kind) not in MAILED_KINDS:
            await notifications.hold(row.id)


def _message(row: AnyRow) -> Message:
    """The row as it was planned, for another channel at once."""
    data: dict[str, Any] = orjson.loads(row.data)
    return Message(
        kind=Kind(row.kind),
        channel=Channel(row.channel),
        user_id=row.user_id,
        subject=row.subject,
        revision=row.told_revision,
        due_at=row.now,
        appointment_id=row.appointment_id,
        lead_minutes=row.lead_minutes,
        starts_at=row.told_starts_at,
        expires_at=row.expires_at,
        data={name: value for name, value in data.items() if name != ENCLOSED},
    )


def _log_crash(row: AnyRow, error: Exception) -> None:
    """Where it happened, never what was to be said."""
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("message not sent", notification=row.id, error=type(error).__name__, frames=frames[-8:])
