"""Entries for the audit without the requests that would cause them, and what a verification says of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.repository import AuditRepository
from health_services.access.trail import Trail, canonical
from health_services.audit.chain import ENTRY
from health_services.audit.pruning import prune
from health_services.audit.repository import ChainRepository
from health_services.audit.verification import Head, Report, Verification
from health_services.database.engine import Database
from health_services.database.postponed import write_all
from health_services.database.sealing import vault_of


async def tell(session: AsyncSession, *, at: datetime | None = None, patient_id: int = 1) -> None:
    """Add an entry in the session's transaction, as the way of a request does it."""
    trail = Trail(action="get_patient", object=f"patient:{patient_id}", address="127.0.0.1", request_id="a-request")
    trail.who(7, "session:3")
    trail.concerns(patient_id)
    entry = trail.entry(200, at or datetime.now(UTC))
    key_id, mac = vault_of(session).authenticate(ENTRY, canonical(entry))
    AuditRepository(session).record(entry | {"key_id": key_id, "mac": mac})
    await write_all(session)


async def tell_many(database: Database, count: int, *, at: datetime | None = None) -> None:
    """So many entries, each in a transaction of its own."""
    for _ in range(count):
        async with database.writing() as session, session.begin():
            await tell(session, at=at)


@asynccontextmanager
async def telling(database: Database) -> AsyncIterator[AsyncSession]:
    """A transaction that has drawn the id of its entry and goes on; the test says how it ends."""
    async with database.writing() as session:
        await session.begin()
        await tell(session)
        yield session


@dataclass
class Auditor:
    """Looks at the audit as its owner does."""

    database: Database

    async def verify(self, head: Head | None = None) -> tuple[Report, list[str]]:
        """The report, and the sentences of its findings."""
        said: list[str] = []
        async with self.database.writing() as session, session.begin():
            report = await Verification(session, head, said.append, lambda *_: None).run()
        assert report.findings == len(said)
        return report, said

    async def whole(self, head: Head | None = None) -> Report:
        """The report of an audit against which nothing is to be said."""
        report, said = await self.verify(head)
        assert said == []
        assert report.is_whole
        return report

    async def head(self) -> Head:
        """The chain's last link."""
        async with self.database.reading() as session:
            link = await ChainRepository(session).head()
        assert link is not None
        return Head(link.seq, link.mac)

    async def prune(self, before: datetime) -> int:
        """Forget what is older."""
        said: list[str] = []
        count = await prune(self.database, before, said.append, lambda *_: None)
        assert said == []
        return count
