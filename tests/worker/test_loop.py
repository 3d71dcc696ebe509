"""The worker's loop: bounded, patient with the database, and never stopping for one that fails."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import pytest

from health_services import worker as loop
from health_services.worker import Lane, Worker, run_until


class Jobs:
    """A source of numbers; what is done with each is up to the test."""

    def __init__(self, *numbers: int, seconds: float = 0) -> None:
        self.waiting = deque(numbers)
        self.done: list[int] = []
        self.most_at_once = 0
        self._at_once = 0
        self._seconds = seconds
        self.failures: deque[Exception] = deque()

    async def take(self, limit: int) -> Sequence[int]:
        if self.failures:
            raise self.failures.popleft()
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    async def carry_out(self, job: int) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self._seconds)
            if job < 0:
                raise ValueError("a job that nobody can do")
            self.done.append(job)
        finally:
            self._at_once -= 1

    async def next_due(self) -> timedelta | None:
        return timedelta(0) if self.waiting else None


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def working(*lanes: Lane):
    worker = Worker(lanes, poll_seconds=0.01)
    running = asyncio.create_task(worker.run())
    yield worker
    worker.stop()
    await running


async def test_all_is_done_and_never_more_at_once_than_allowed():
    jobs = Jobs(*range(200), seconds=0.001)
    async with working(Lane("jobs", jobs, 5)):
        await until(lambda: len(jobs.done) == 200)
    assert sorted(jobs.done) == list(range(200))
    assert jobs.most_at_once == 5


async def test_a_job_that_breaks_stops_no_other():
    jobs = Jobs(-1, 1, -2, 2, 3)
    async with working(Lane("jobs", jobs, 1)):
        await until(lambda: len(jobs.done) == 3)
    assert jobs.done == [1, 2, 3]


async def test_a_lane_that_hangs_holds_up_no_other():
    hung, others = Jobs(1, 2, seconds=3600), Jobs(*range(50))
    worker = Worker([Lane("hung", hung, 1), Lane("others", others, 2)], poll_seconds=0.01)
    stopped = asyncio.Event()
    running = asyncio.create_task(run_until(worker, stopped, grace_seconds=0.05))
    await until(lambda: len(others.done) == 50)
    stopped.set()
    # what cannot be finished is cut off, so that the process ends; its claim runs out and it is sent again
    await running
    assert hung.done == []
    assert [task for task in asyncio.all_tasks() if "_carry_out" in repr(task)] == []


async def test_a_stop_finishes_what_was_taken_and_takes_nothing_more():
    jobs = Jobs(*range(4), seconds=0.05)
    async with working(Lane("jobs", jobs, 2)) as worker:
        await until(lambda: jobs.most_at_once == 2)
        worker.stop()
        jobs.waiting.append(99)
    assert sorted(jobs.done) == [0, 1, 2, 3]
    assert list(jobs.waiting) == [99]


async def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "FIRST_PAUSE", 0.001)
    jobs = Jobs(1, 2)
    jobs.failures.extend([ConnectionError(), TimeoutError(), OSError()])
    async with working(Lane("jobs", jobs, 2)):
        await until(lambda: len(jobs.done) == 2)
    assert not jobs.failures


async def test_what_ends_lets_the_next_one_have_its_turn_at_once():
    """A source may hold back what must wait for another: it is asked again when that one has ended."""

    class OneAfterTheOther(Jobs):
        async def take(self, limit: int) -> Sequence[int]:
            return [] if self._at_once else await super().take(1)

        async def next_due(self) -> timedelta | None:
            return None

    jobs = OneAfterTheOther(*range(20), seconds=0.001)
    worker = Worker([Lane("jobs", jobs, 4)], poll_seconds=3600)
    running = asyncio.create_task(worker.run())
    await until(lambda: len(jobs.done) == 20)
    worker.stop()
    await running
    assert jobs.done == list(range(20))
