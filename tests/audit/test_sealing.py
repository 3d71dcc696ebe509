"""The chain: whatever order transactions end in, each entry is sealed once, and no writer waits for it."""

import asyncio
import random

import asyncpg
import pytest
from sqlalchemy import text

from health_services.audit.chain import Link
from health_services.audit.repository import ChainRepository, Situation
from health_services.audit.sealer import Sealer
from health_services.database.engine import Database
from tests.audit.entries import Auditor, tell, tell_many, telling

SEALED = "SELECT entry_id FROM audit_seals ORDER BY seq"
# Who would have to wait gives up.
_NO_PATIENCE = text("SET LOCAL lock_timeout = '1ms'")
_OWN_NUMBER = text("SELECT pg_current_xact_id_if_assigned()::text")
FLOOR = "SELECT floor FROM audit_seals ORDER BY seq DESC LIMIT 1"


async def sealed(owner: asyncpg.Connection) -> list[int]:
    return [row["entry_id"] for row in await owner.fetch(SEALED)]


async def settle(sealer: Sealer) -> None:
    """Seal until nothing is left."""
    while await sealer.seal_some():
        pass


async def until_the_floor_is(least: int, sealer: Sealer, written: Database, owner: asyncpg.Connection) -> None:
    """Go on until it is as high; transactions of other tests on the same server hold it up too."""
    while await owner.fetchval(FLOOR) < least:
        await tell_many(written, 1)
        await sealer.seal_some()


async def test_entries_are_sealed_once_in_the_order_of_ids(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    assert await sealer.take(2) == []
    await tell_many(written, 5)
    assert await sealer.take(2) == [0]
    await sealer.carry_out(0)
    assert await sealed(owner) == [1, 2, 3, 4, 5]
    assert await sealer.take(2) == []
    assert await sealer.seal_some() == 0
    report = await auditor.whole()
    assert (report.entries, report.unsealed, report.last.seq) == (5, 0, 5)


async def test_more_than_a_batch_is_sealed_batch_by_batch(
    written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    sealer = Sealer(written, at_once=3)
    await tell_many(written, 7)
    assert [await sealer.seal_some() for _ in range(4)] == [3, 3, 1, 0]
    await tell_many(written, 8)
    await sealer.carry_out(0)
    assert await sealed(owner) == list(range(1, 16))
    await until_the_floor_is(15, sealer, written, owner)
    await auditor.whole()


async def test_an_entry_that_becomes_visible_late_is_sealed_after_a_higher_one(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    async with telling(written) as slow:
        await tell_many(written, 3)
        for _ in range(3):
            await sealer.seal_some()
            await tell_many(written, 1)
        assert await sealed(owner) == [2, 3, 4, 5, 6]
        assert await owner.fetchval(FLOOR) == 0
        await slow.commit()
    await settle(sealer)
    assert await sealed(owner) == [2, 3, 4, 5, 6, 1, 7]
    assert (await auditor.whole()).entries == 7


async def test_the_floor_rises_once_nothing_can_come_below_it(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    async with telling(written) as gone:  # draws 1, which nobody will ever see
        for _ in range(3):
            await tell_many(written, 1)
            await sealer.seal_some()
            assert await owner.fetchval(FLOOR) == 0
        await gone.rollback()
    await until_the_floor_is(2, sealer, written, owner)
    ids = [row["id"] for row in await owner.fetch("SELECT id FROM audit_log ORDER BY id")]
    assert await sealed(owner) == ids
    assert ids[0] == 2
    assert (await auditor.whole()).unsealed == 0


async def _storm(written: Database, sealer: Sealer, seed: int) -> int:
    """Writers that end in any order and any way, beside a sealer that never pauses; how many entries there are."""
    dice, is_over = random.Random(seed), False

    async def write(pause: float, is_kept: bool) -> int:
        async with telling(written) as session:
            await asyncio.sleep(pause)
            await (session.commit() if is_kept else session.rollback())
        return int(is_kept)

    async def seal() -> None:
        while not is_over:
            await sealer.seal_some()

    sealing = asyncio.create_task(seal())
    kept = 0
    for _ in range(12):
        plans = [(dice.choice((0, 0.001, 0.02, 0.1)), dice.random() < 0.8) for _ in range(6)]
        kept += sum(await asyncio.gather(*(write(*plan) for plan in plans)))
    is_over = True
    await sealing
    await settle(sealer)
    return kept


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_order_writers_end_in(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor, seed: int
):
    kept = await _storm(written, sealer, seed)
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == kept
    assert sorted(await sealed(owner)) == [
        row["id"] for row in await owner.fetch("SELECT id FROM audit_log ORDER BY 1")
    ]
    report = await auditor.whole()
    assert (report.entries, report.unsealed) == (kept, 0)


async def test_without_the_rule_of_the_floor_an_entry_is_lost(
    monkeypatch: pytest.MonkeyPatch, sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    """The sealer that takes the highest visible id for the floor; the tests above would not pass with it."""
    found = ChainRepository.situation

    async def hasty(self: ChainRepository) -> Situation:
        now = await found(self)
        return Situation(now.last, now.highest, 2**62)  # as if nobody else wrote

    monkeypatch.setattr(ChainRepository, "situation", hasty)
    async with telling(written) as slow:
        await tell_many(written, 1)
        await sealer.seal_some()
        await tell_many(written, 1)
        await sealer.seal_some()
        assert await owner.fetchval(FLOOR) == 2
        await slow.commit()
    assert await sealer.take(2) == []
    await settle(sealer)
    assert await sealed(owner) == [2, 3]
    _, said = await auditor.verify()
    assert said == ["Entry 1 is in no seal, though all up to 2 were: inserted."]


async def test_a_number_that_was_assigned_before_is_no_bound(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """The sealer's own number comes after the highest id was read; one that came before would be too low."""
    order: list[str] = []
    for name in ("situation", "append", "own_transaction"):
        found = getattr(ChainRepository, name)

        async def noted(self: ChainRepository, *args: object, name: str = name, found: object = found) -> object:
            number = await self._session.scalar(_OWN_NUMBER)
            order.append(f"{name} {'with' if number else 'without'} a number")
            return await found(self, *args)  # type: ignore[operator]

        monkeypatch.setattr(ChainRepository, name, noted)
    await tell_many(written, 1)
    await sealer.seal_some()
    assert order == ["situation without a number", "append without a number", "own_transaction with a number"]


async def test_two_sealers_at_once_make_one_chain(written: Database, owner: asyncpg.Connection, auditor: Auditor):
    sealers = [Sealer(written, at_once=2) for _ in range(4)]
    await tell_many(written, 40)
    while len(await sealed(owner)) < 40:
        await asyncio.gather(*(sealer.seal_some() for sealer in sealers))
    assert await sealed(owner) == list(range(1, 41))
    await auditor.whole()


async def test_who_comes_second_leaves_it_to_the_first(sealer: Sealer, written: Database, owner: asyncpg.Connection):
    await tell_many(written, 1)
    async with written.writing() as session, session.begin():
        assert await ChainRepository(session).take_turn()
        assert await sealer.seal_some() == 0
    assert await sealer.seal_some() == 1


async def test_a_writer_does_not_wait_for_the_sealer(written: Database, owner: asyncpg.Connection):
    await tell_many(written, 1)
    async with written.writing() as session, session.begin():
        chain = ChainRepository(session)
        assert await chain.take_turn()
        now = await chain.situation()
        await chain.append([{"seq": 1, "entry_id": 1, "floor": 0, "key_id": "test", "mac": b"?"}])
        async with written.writing() as other, other.begin():
            await other.execute(_NO_PATIENCE)
            await tell(other)
        assert now.last == Link()
        await session.rollback()


async def test_another_chain_under_our_feet_is_sealed_from_its_beginning(
    sealer: Sealer, written: Database, owner: asyncpg.Connection, auditor: Auditor
):
    """As where a dump is restored while the worker runs: what it remembers of ids and numbers is not true any more."""
    await tell_many(written, 9)
    await sealer.seal_some()
    await tell_many(written, 1)
    await sealer.seal_some()
    await owner.execute("DELETE FROM audit_seals; DELETE FROM audit_log; ALTER TABLE audit_log ALTER id RESTART")
    async with telling(written) as slow:
        await tell_many(written, 2)
        await sealer.seal_some()
        assert await owner.fetchval(FLOOR) == 0
        await slow.commit()
    await settle(sealer)
    assert await sealed(owner) == [2, 3, 1]
    await auditor.whole()
