"""Sealing the audit's entries into a chain, a moment after they were written, so that no writer waits for another.

An entry may become visible after one with a higher id was sealed, since its transaction took longer. So each pass
seals whatever is visible and unsealed, in the order of ids, above a floor: an id below which nothing can come any
more. The floor rises so: all ids up to the highest one that is visible have been drawn; whoever drew one had his
transaction's number by then, which stands before the id in the table; the sealer's own number, assigned after that, is
higher than all of these; and once every transaction with a lower number has ended, each of those ids is either visible
or will never be. Numbers of transactions are compared in this process's memory only, so that a restored dump, whose
numbers are those of another server, is sealed like any other.

docs/decisions/0009-audit-sealed-afterwards.md tells what else was thought of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.audit.chain import Link, links
from health_services.audit.repository import ChainRepository, Situation
from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.database.sealing import vault_of

AT_ONCE = 1000
INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True)
class _Watch:
    """All ids up to `highest` were drawn by transactions with lower numbers than `xid`; the chain had `seq` links."""

    highest: int
    xid: int
    seq: int


@dataclass
class Sealer:
    """A lane of the worker: each job is a look at what is unsealed. Any number may run, of which one seals at a time.

    `at_once`: entries sealed in one transaction.
    """

    database: Database
    at_once: int = AT_ONCE
    _watch: _Watch | None = field(default=None, init=False)

    async def take(self, limit: int) -> Sequence[int]:  # noqa: ARG002 - there is never more than one job
        """One job if anything is unsealed."""
        async with self.database.reading() as session:
            chain = ChainRepository(session)
            last = await chain.head() or Link()
            return [0] if await chain.unsealed(last.floor, 1) else []

    async def carry_out(self, job: int) -> None:  # noqa: ARG002 - all jobs are the same
        """Seal all that is there."""
        while await self.seal_some() == self.at_once:
            pass

    async def next_due(self) -> timedelta | None:
        """Something new may be there in a moment."""
        return INTERVAL

    async def seal_some(self) -> int:
        """Seal one batch in a transaction of its own; how many entries, 0 also where somebody else is at it."""
        async with self.database.writing() as session, session.begin():
            chain = ChainRepository(session)
            if not await chain.take_turn():
                return 0
            situation = await chain.situation()
            entries = await chain.unsealed(situation.last.floor, self.at_once)
            if not entries:
                return 0
            watch = await self._append(session, situation, entries)
        self._watch = watch
        return len(entries)

    async def _append(self, session: AsyncSession, now: Situation, entries: Sequence[AnyRow]) -> _Watch:
        """Add the links; what to wait for until the floor rises the next time."""
        watch, floor = self._known(now.last), now.last.floor
        if watch is not None and now.oldest_running >= watch.xid:
            # in the order of ids: what a full batch leaves over lies above its last one
            settled = watch.highest if len(entries) < self.at_once else min(watch.highest, entries[-1].id)
            floor = max(floor, settled)
            watch = None if floor >= watch.highest else watch
        chain = ChainRepository(session)
        await chain.append(links(vault_of(session), now.last, entries, floor))
        # assigned here at the earliest, after `highest` was read
        return watch or _Watch(now.highest, await chain.own_transaction(), now.last.seq)

    def _known(self, last: Link) -> _Watch | None:
        """What is remembered, unless the chain is shorter than then: it is another one, restored under our feet."""
        return self._watch if self._watch is not None and self._watch.seq <= last.seq else None
