"""Fifty writers at once, and a sealer that is killed again and again: in the end the chain is whole."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from typing import Any

import asyncpg

from health_services.audit.repository import ChainRepository
from health_services.database.engine import Database
from health_services.database.sealing import Vault
from tests.audit.entries import Auditor, telling
from tests.conftest import test_settings
from tests.races.message_worker import PATIENCE_SECONDS, WorkerProcess, sound
from tests.servers import TestDatabase

WRITERS, EACH, KILLS = 50, 12, 4
SEALED = "SELECT count(*) FROM audit_seals"
UNSEALED = "SELECT count(*) FROM audit_log l WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id)"


def dying_before_it_commits() -> None:
    """It kills itself when the first seals are written and not committed."""
    append = ChainRepository.append

    async def append_and_die(self: ChainRepository, links: Any) -> None:
        await append(self, links)
        os.kill(os.getpid(), signal.SIGKILL)

    ChainRepository.append = append_and_die  # type: ignore[method-assign]


def worker(database: TestDatabase, fault: Callable[[], None] = sound) -> WorkerProcess:
    settings = test_settings(database.app_url).model_copy(update={"worker_poll_seconds": 0.05})
    return WorkerProcess(settings, database.owner_url, fault)


async def write(written: Database, dice: random.Random) -> int:
    """One writer's transactions: short ones and long ones, kept and undone; how many entries he leaves."""
    kept = 0
    for _ in range(EACH):
        pause, is_kept = dice.choice((0, 0, 0.001, 0.01, 0.1, 1)), dice.random() < 0.8
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
    database: TestDatabase, owner: asyncpg.Connection, auditor: Auditor, vault: Vault
):
    many = Database.connect(
        database.app_url, role=None, pool_size=WRITERS, pool_timeout=60, timeouts={}, vault=vault, is_service=True
    )
    dice = random.Random(50)
    writing = asyncio.gather(*(write(many, random.Random(dice.random())) for _ in range(WRITERS)))
    for fault in (sound, dying_before_it_commits, sound, dying_before_it_commits)[:KILLS]:
        before = await owner.fetchval(SEALED)
        process = worker(database, fault)
        if fault is sound:
            await until(owner, SEALED, lambda count, before=before: count > before)  # type: ignore[misc]
            process.kill()
        assert await process.ended() == -signal.SIGKILL
        assert (await owner.fetchval(SEALED) > before) == (fault is sound)
    last = worker(database)
    kept = sum(await writing)
    await many.close()
    await until(owner, UNSEALED, lambda count: count == 0)
    await last.stop()
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == kept
    assert await owner.fetchval("SELECT count(DISTINCT entry_id) FROM audit_seals") == kept
    report = await auditor.whole(await auditor.head())
    assert (report.entries, report.unsealed, report.last.seq) == (kept, 0, kept)
