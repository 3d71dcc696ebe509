"""Fifty writers at once, and a sealer that is killed again and again: in the end the chain is whole."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest

from health_services.audit.repository import ChainRepository
from health_services.database.engine import Database
from health_services.database.sealing import Vault
from tests.audit.entries import Auditor, telling
from tests.conftest import test_settings
from tests.races.message_worker import PATIENCE_SECONDS, WorkerProcess, sound
from tests.servers import TestDatabase

WRITERS = 50
SEALED = "SELECT count(*) FROM audit_seals"
UNSEALED = "SELECT count(*) FROM audit_log l WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id)"


def dying_before_it_commits() -> None:
    """It kills itself when the first seals are written and not committed."""
    append = ChainRepository.append

    async def append_and_die(self: ChainRepository, links: Any) -> None:
        await append(self, links)
        os.kill(os.getpid(), signal.SIGKILL)

    ChainRepository.append = append_and_die  # type: ignore[method-assign]


Workers = Callable[[Callable[[], None]], WorkerProcess]


@pytest.fixture
def worker(database: TestDatabase) -> Iterator[Workers]:
    """Starts workers with a fault; none outlives the test."""
    settings = test_settings(database.app_url).model_copy(update={"worker_poll_seconds": 0.05})
    started: list[WorkerProcess] = []

    def start(fault: Callable[[], None]) -> WorkerProcess:
        started.append(WorkerProcess(settings, database.owner_url, fault))
        return started[-1]

    yield start
    for process in started:
        process.kill()


async def write(written: Database, dice: random.Random, is_over: asyncio.Event) -> int:
    """One writer's transactions: short ones and long ones, kept and undone; how many entries he leaves."""
    kept = 0
    while not is_over.is_set():
        pause, is_kept = dice.choice((0, 0.001, 0.01, 0.1, 1, 2)), dice.random() < 0.8
        async with telling(written) as session:
            await asyncio.sleep(pause)
            await (session.commit() if is_kept else session.rollback())
        kept += is_kept
    return kept


async def until(owner: asyncpg.Connection, query: str, is_enough: Callable[[int], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_enough(await owner.fetchval(query)):
            await asyncio.sleep(0.01)


async def test_fifty_writers_and_a_sealer_that_is_killed(
    database: TestDatabase, owner: asyncpg.Connection, auditor: Auditor, vault: Vault, worker: Workers
):
    many = Database.connect(
        database.app_url, role=None, pool_size=WRITERS, pool_timeout=60, timeouts={}, vault=vault, is_service=True
    )
    dice = random.Random(50)
    is_over = asyncio.Event()
    writing = asyncio.gather(*(write(many, random.Random(dice.random()), is_over) for _ in range(WRITERS)))
    for fault in (sound, dying_before_it_commits, sound, dying_before_it_commits):
        before = await owner.fetchval(SEALED)
        process = worker(fault)
        if fault is sound:
            await until(owner, SEALED, lambda count, before=before: count > before)  # type: ignore[misc]
            process.kill()
        assert await process.ended() == -signal.SIGKILL
        assert (await owner.fetchval(SEALED) > before) == (fault is sound)
    last = worker(sound)
    is_over.set()
    kept = sum(await writing)
    await many.close()
    await until(owner, UNSEALED, lambda count: count == 0)
    await last.stop()
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == kept
    assert await owner.fetchval("SELECT count(DISTINCT entry_id) FROM audit_seals") == kept
    report = await auditor.whole(await auditor.head())
    assert (report.entries, report.unsealed, report.last.seq) == (kept, 0, kept)
