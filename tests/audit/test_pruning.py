"""Forgetting old entries: the chain goes on from a signed checkpoint, and what was changed is not forgotten."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from health_services.audit import pruning
from health_services.audit.chain import Link
from health_services.audit.sealer import Sealer
from health_services.audit.verification import Advance, Head
from health_services.database.engine import Database
from health_services.errors import OperatorError
from tests.audit.entries import Auditor, tell_many

NOW = datetime.now(UTC)
OLD, LIMIT = NOW - timedelta(days=400), NOW - timedelta(days=365)
ENTRIES = "SELECT count(*) FROM audit_log"


@pytest.fixture
async def heads(sealer: Sealer, written: Database, auditor: Auditor) -> list[Head]:
    """Six old entries and four new ones; the chain's head after those and after these."""
    found = []
    for count, at in ((6, OLD), (4, NOW)):
        await tell_many(written, count, at=at)
        await sealer.carry_out(0)
        found.append(await auditor.head())
    return found


async def test_what_is_older_goes_and_the_chain_stays_whole(
    heads: list[Head], auditor: Auditor, sealer: Sealer, written: Database, owner: asyncpg.Connection
):
    assert await auditor.prune(LIMIT) == 6
    assert await owner.fetchval("SELECT min(at) FROM audit_log") >= NOW
    assert await owner.fetchval(ENTRIES) == 4 + 1
    assert await owner.fetchval("SELECT min(seq) || '/' || max(seq) FROM audit_seals") == "6/10"
    for head in heads:
        report = await auditor.whole(head)
    assert (report.start.seq, report.entries, report.unsealed) == (6, 4, 1)
    told = await owner.fetchrow("SELECT action, via, user_id, outcome FROM audit_log ORDER BY id DESC LIMIT 1")
    assert tuple(told) == ("audit prune", "command", None, "success")
    await tell_many(written, 2)
    await sealer.carry_out(0)
    assert (await auditor.whole(heads[1])).last.seq == 13


async def test_nothing_older_changes_nothing(heads: list[Head], auditor: Auditor, owner: asyncpg.Connection):
    assert await auditor.prune(OLD) == 0
    assert await owner.fetchval(ENTRIES) == 10
    assert await owner.fetchval("SELECT count(*) FROM audit_seals WHERE kind = 'checkpoint'") == 0
    assert await auditor.prune(LIMIT) == 6
    assert await auditor.prune(LIMIT) == 0
    await auditor.whole()


async def test_it_can_be_done_again_and_to_the_last_seal(
    heads: list[Head], auditor: Auditor, sealer: Sealer, written: Database, owner: asyncpg.Connection
):
    await auditor.prune(LIMIT)
    await sealer.carry_out(0)
    assert await auditor.prune(NOW + timedelta(days=1)) == 5
    assert await owner.fetchval("SELECT count(*) FROM audit_seals") == 1
    assert await owner.fetchval(ENTRIES) == 1  # of the pruning itself
    assert (await auditor.whole()).start.seq == 11
    await tell_many(written, 3)
    await sealer.carry_out(0)
    assert (await auditor.whole()).last.seq == 15


async def test_what_is_not_sealed_is_never_deleted(
    auditor: Auditor, written: Database, sealer: Sealer, owner: asyncpg.Connection
):
    await tell_many(written, 3, at=OLD)
    assert await auditor.prune(LIMIT) == 0
    assert await owner.fetchval(ENTRIES) == 3


async def test_one_that_was_broken_off_is_told_and_goes_on(
    heads: list[Head], auditor: Auditor, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    drop = pruning._drop_before

    async def killed(owner: Database, checkpoint: Link, advance: Advance) -> None:
        if checkpoint.seq:
            raise ConnectionError
        await drop(owner, checkpoint, advance)

    monkeypatch.setattr(pruning, "_drop_before", killed)
    with pytest.raises(ConnectionError):
        await auditor.prune(LIMIT)
    monkeypatch.undo()
    report, said = await auditor.verify(heads[1])
    assert said == []
    assert (report.leftover, report.is_whole) == (5, False)
    assert await auditor.prune(LIMIT) == 0
    await auditor.whole(heads[1])
    assert await owner.fetchval("SELECT min(seq) FROM audit_seals") == 6


async def test_what_was_changed_is_not_forgotten(heads: list[Head], auditor: Auditor, owner: asyncpg.Connection):
    await owner.execute("UPDATE audit_log SET user_id = 8 WHERE id = 2")
    with pytest.raises(OperatorError, match="nothing was deleted"):
        await pruning.prune(auditor.database, LIMIT, lambda _: None, lambda *_: None)
    assert await owner.fetchval(ENTRIES) == 10


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        ("UPDATE audit_seals SET mac = sha256('') WHERE seq = 6", "Checkpoint 6 is not authentic"),
        ("UPDATE audit_seals SET floor = floor + 1 WHERE seq = 6", "Checkpoint 6 is not authentic"),
        ("UPDATE audit_seals SET seq = 7 WHERE seq = 6", "Checkpoint 7 is not authentic"),
        ("DELETE FROM audit_seals WHERE seq = 6", "Seals are missing: 1 to 6."),
        ("DELETE FROM audit_seals WHERE seq = 7; DELETE FROM audit_log WHERE id = 7", "Seals are missing: 7 to 7."),
    ],
)
async def test_a_checkpoint_that_is_not_ours_is_told(
    heads: list[Head], auditor: Auditor, owner: asyncpg.Connection, deed: str, sentence: str
):
    await auditor.prune(LIMIT)
    if "seq = 7 WHERE" in deed:
        await owner.execute("DELETE FROM audit_seals WHERE seq = 7")
    await owner.execute(deed)
    report, said = await auditor.verify()
    assert said[0].startswith(sentence)
    assert not report.is_whole


async def test_a_head_that_was_pruned_is_compared_with_the_checkpoint(heads: list[Head], auditor: Auditor):
    await auditor.prune(LIMIT)
    _, said = await auditor.verify(Head(heads[0].seq, b"0" * 32))
    assert said == ["Checkpoint 6 does not stand for the seal that was noted as the head."]
    await auditor.whole(Head(3, b"0" * 32))  # long forgotten: nothing can be said of it
