"""The worker: takes what is due out of the ledger and sends it; any number of them may run at once.

Each channel, and the webhooks, is a lane of its own with a bounded number of messages under way: a gateway that hangs
delays nobody else's.
"""

import asyncio
import contextlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

log = structlog.get_logger("health_services.worker")

# After a failure of the database; doubled each time, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
# What is due, but could not be taken, is somebody else's for an instant.
SHORTEST_WAIT = 0.05


class Source(Protocol):
    """Where a lane's jobs come from and how they are done."""

    async def take(self, limit: int) -> Sequence[Any]:
        """Claim up to so many jobs that are due."""

    async def carry_out(self, job: Any) -> None:
        """Do one; raises only where the database failed."""

    async def next_due(self) -> timedelta | None:
        """How long until there is something to do; None if nothing waits."""


@dataclass(frozen=True)
class Lane:
    """One source, with so many jobs under way at once at most."""

    name: str
    source: Source
    concurrency: int


class Worker:
    """Runs lanes until it is told to stop; `poll_seconds` is how long new work may go unnoticed."""

    def __init__(self, lanes: Sequence[Lane], *, poll_seconds: float) -> None:
        self._lanes = lanes
        self._poll = poll_seconds
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; what is under way is finished."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`; returns when nothing is under way any more."""
        async with asyncio.TaskGroup() as lanes:
            for lane in self._lanes:
                lanes.create_task(self._work(lane), name=lane.name)

    async def _work(self, lane: Lane) -> None:
        """Work at one lane until `stop`; who cancels this cancels what is under way too."""
        under_way: set[asyncio.Task[None]] = set()
        try:
            await self._keep_full(lane, under_way)
            if under_way:
                await asyncio.wait(under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _keep_full(self, lane: Lane, under_way: set[asyncio.Task[None]]) -> None:
        """Claim what is due; a claim waits for its turn no longer than one send takes."""
        slots = asyncio.Semaphore(lane.concurrency)
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            free = 2 * lane.concurrency - len(under_way)
            jobs: Sequence[Any] = ()
            try:
                jobs = await lane.source.take(free)
                wait = 0.0 if len(jobs) == free else await self._idle_time(lane)
                pause = FIRST_PAUSE
            except (DBAPIError, PoolTimeoutError, OSError) as error:
                log.warning("the worker cannot use the database", lane=lane.name, error=_kind_of(error))
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE)
            except Exception as error:  # an error of ours ends no lane, and not the other lanes with it
                _log_crash(lane, error)
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE)
            under_way |= {asyncio.create_task(self._carry_out(lane, job, slots)) for job in jobs}
            await self._until_there_is_room(under_way, lane.concurrency, wait)

    async def _idle_time(self, lane: Lane) -> float:
        """Seconds until the next job is due, at most the polling time."""
        due = await lane.source.next_due()
        return self._poll if due is None else min(self._poll, max(due.total_seconds(), SHORTEST_WAIT))

    async def _until_there_is_room(self, under_way: set[asyncio.Task[None]], concurrency: int, wait: float) -> None:
        """Wait until it is time to look again: there is room, and one has ended or the time is over; or for `stop`.

        Takes out of `under_way` what has ended.
        """
        stop = asyncio.create_task(self._stopping.wait())
        try:
            while len(under_way) >= concurrency and not stop.done():
                await asyncio.wait({*under_way, stop}, return_when=asyncio.FIRST_COMPLETED)
                under_way -= {task for task in under_way if task.done()}
            if wait:  # what ends may let another have its turn
                await asyncio.wait({*under_way, stop}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                under_way -= {task for task in under_way if task.done()}
        finally:
            stop.cancel()

    async def _carry_out(self, lane: Lane, job: Any, slots: asyncio.Semaphore) -> None:
        async with slots:
            try:
                await lane.source.carry_out(job)
            except (DBAPIError, PoolTimeoutError, OSError) as error:
                log.warning("what became of a message is not written down", lane=lane.name, error=_kind_of(error))
            except Exception as error:
                _log_crash(lane, error)


def _kind_of(error: Exception) -> str:
    """The error's class and, where the database answered, its SQLSTATE."""
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    return f"{type(error).__name__} {sqlstate}" if sqlstate else type(error).__name__


def _log_crash(lane: Lane, error: Exception) -> None:
    """Where it happened, never what was to be said."""
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("crash", lane=lane.name, error=type(error).__name__, frames=frames[-8:])


async def run_until(worker: Worker, stopped: asyncio.Event, grace_seconds: float) -> None:
    """Run the worker until the event; then give what is under way so many seconds. What is cut off is sent again."""
    running = asyncio.create_task(worker.run())
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    worker.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_seconds):
            await running
