"""Proving that the audit is as it was written: nothing changed, removed, inserted, moved, or cut off."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.audit.chain import CHECKPOINT, SEAL, Link, is_entry_authentic
from health_services.audit.models import Kind
from health_services.audit.repository import ChainRepository
from health_services.database.base import AnyRow
from health_services.database.sealing import vault_of

Tell = Callable[[str], None]
# How many links were looked at, of how many.
Advance = Callable[[int, int], None]

_ONE_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


@dataclass(frozen=True)
class Head:
    """The place and the mac of a link, as it was noted elsewhere."""

    seq: int
    mac: bytes


@dataclass
class Report:
    """What was seen: from which link to which, and `leftover` before it, of a pruning that was broken off."""

    findings: int = 0
    entries: int = 0
    unsealed: int = 0
    oldest_unsealed: datetime | None = None
    leftover: int = 0
    start: Link = field(default_factory=Link)
    last: Link = field(default_factory=Link)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to be said against it."""
        return not (self.findings or self.leftover)


class Verification:
    """One walk over the whole audit, as of one instant; `tell` hears a sentence for each finding, with ids alone.

    The session begins its transaction here, and is the owner's, from whom no row is hidden.
    """

    def __init__(self, session: AsyncSession, head: Head | None, tell: Tell, advance: Advance) -> None:
        self._session = session
        self._chain = ChainRepository(session)
        self._vault = vault_of(session)
        self._head, self._tell, self._advance = head, tell, advance
        self._missing_keys: Counter[str] = Counter()
        self.report = Report()

    async def run(self) -> Report:
        """Walk the chain, then look at what is in no link."""
        await self._session.execute(_ONE_SNAPSHOT)
        start = self.report.start = await self._start()
        self.report.leftover = await self._chain.count_before(start.seq)
        self.report.last = await self._walk(start)
        self._compare_head()
        await self._look_at_unsealed()
        for copy in await self._chain.copies():
            self._find(f"Entries {copy.first} and {copy.last} are copies of each other: one was inserted.")
        for key_id, count in self._missing_keys.items():
            self._find(f"The key {key_id} is missing: {count} entries and seals cannot be checked.")
        return self.report

    def _find(self, sentence: str) -> None:
        self.report.findings += 1
        self._tell(sentence)

    def _is_false(self, answer: bool | None, key_id: str) -> bool:
        """Whether something is not authentic; what cannot be told for want of the key is counted."""
        if answer is None:
            self._missing_keys[key_id] += 1
        return answer is False

    async def _start(self) -> Link:
        """The last checkpoint that a key signed, or the beginning."""
        for row in await self._chain.checkpoints():
            link = Link(row.seq, row.mac, row.floor)
            answer = self._vault.is_authentic(CHECKPOINT, link.signed(), row.key_id, row.signature)
            if answer:
                return link
            if self._is_false(answer, row.key_id):
                self._find(f"Checkpoint {row.seq} is not authentic: it was changed or inserted.")
        return Link()

    async def _walk(self, last: Link) -> Link:
        total, is_known = await self._chain.count(), True
        async for row in self._chain.links_after(last.seq):
            if row.seq != last.seq + 1:
                self._find(f"Seals are missing: {last.seq + 1} to {row.seq - 1}.")
                is_known = False  # what this one was made over is gone
            self._look_at(row, last if is_known else None)
            last, is_known = Link(row.seq, row.seal_mac, row.floor), True
            if self._head is not None and row.seq == self._head.seq and row.seal_mac != self._head.mac:
                self._find(f"Seal {row.seq} is not the one that was noted as the head: what follows was made anew.")
            self._advance(row.seq, total)
        return last

    def _look_at(self, row: AnyRow, before: Link | None) -> None:
        if row.kind == Kind.CHECKPOINT:
            return  # told of already
        if row.mac is None:
            self._find(f"Entry {row.entry_id} was removed: seal {row.seq} is its.")
            return
        self.report.entries += 1
        self._check_entry(row)
        if before is None:
            return
        data = before.sealed(row.entry_id, row.mac, row.floor)
        if self._is_false(self._vault.is_authentic(SEAL, data, row.seal_key_id, row.seal_mac), row.seal_key_id):
            self._find(
                f"Seal {row.seq} does not fit entry {row.entry_id} and the seal before: one of them was changed."
            )

    def _check_entry(self, row: AnyRow) -> None:
        if self._is_false(is_entry_authentic(self._vault, row), row.key_id):
            self._find(f"Entry {row.id} is not as it was written: it was changed or inserted.")

    def _compare_head(self) -> None:
        head, start, last = self._head, self.report.start, self.report.last
        if head is None:
            return
        if head.seq > last.seq:
            self._find(f"The chain ends with seal {last.seq}, before the head {head.seq}: its end was cut off.")
        if head.seq == start.seq and head.mac != start.mac:
            self._find(f"Checkpoint {start.seq} does not stand for the seal that was noted as the head.")

    async def _look_at_unsealed(self) -> None:
        """Below the floor everything was sealed; what is above waits for its turn."""
        async for row in self._chain.all_unsealed():
            self._check_entry(row)
            if row.id <= self.report.last.floor:
                self._find(f"Entry {row.id} is in no seal, though all up to {self.report.last.floor} were: inserted.")
                continue
            self.report.unsealed += 1
            self.report.oldest_unsealed = min(self.report.oldest_unsealed or row.at, row.at)
