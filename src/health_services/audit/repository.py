"""SQL of the audit: reading its entries, and the chain of their seals."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, insert, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.audit.chain import Link
from health_services.audit.models import AuditEntry, AuditSeal, Kind, Outcome
from health_services.database.base import AnyRow
from health_services.pagination import LAST, Page

BATCH = 1000
# Any number will do, as long as no other lock has it.
_LOCK = 5_318_008_271_828_184

_ENTRY = (
    AuditEntry.id, AuditEntry.nonce, AuditEntry.at, AuditEntry.user_id, AuditEntry.via, AuditEntry.action,
    AuditEntry.object, AuditEntry.patient_ids, AuditEntry.user_ids, AuditEntry.address, AuditEntry.outcome,
    AuditEntry.status, AuditEntry.request_id, AuditEntry.key_id, AuditEntry.mac,
)  # fmt: skip
_PLACE = (AuditSeal.seq, AuditSeal.mac, AuditSeal.floor)
_LINK = (
    AuditSeal.seq, AuditSeal.kind, AuditSeal.entry_id, AuditSeal.floor, AuditSeal.key_id.label("seal_key_id"),
    AuditSeal.mac.label("seal_mac"),
)  # fmt: skip
_DROP_LINKS = text(
    """WITH gone AS (DELETE FROM audit_seals WHERE seq BETWEEN :first AND :last RETURNING entry_id)
       DELETE FROM audit_log WHERE id IN (SELECT entry_id FROM gone)"""
)
_ACCESSES = text(
    "SELECT * FROM access_log_of(:patient_id, CAST(:before AS timestamptz), CAST(:before_id AS bigint), "
    "CAST(:skip AS bigint), CAST(:probe AS bigint))"
)
# The transaction of this statement has no number yet: it gets one, higher than all there are, when it writes.
_SITUATION = text(
    """SELECT s.seq, s.mac, s.floor, (SELECT COALESCE(max(id), 0) FROM audit_log) AS highest,
              CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS oldest_running
       FROM (VALUES (1)) AS one LEFT JOIN (SELECT * FROM audit_seals ORDER BY seq DESC LIMIT 1) s ON true"""
)
_OWN_TRANSACTION = text("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
# OFFSET 0 keeps the planner from making a join of it, which is quick or very slow as its statistics are fresh or old.
_UNSEALED = text(
    """SELECT l.id, l.mac FROM audit_log l
       WHERE l.id > CAST(:floor AS bigint)
         AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id OFFSET 0)
       ORDER BY l.id LIMIT :most"""
)


@dataclass(frozen=True)
class Filter:
    """What the audit can be narrowed by; both instants are included."""

    user_id: int | None = None
    patient_id: int | None = None
    action: str | None = None
    outcome: Outcome | None = None
    date_from: datetime | None = None
    date_to: datetime | None = None


@dataclass(frozen=True)
class Situation:
    """The chain's last link, the highest visible id, and the lowest number of a transaction that has not ended."""

    last: Link
    highest: int
    oldest_running: int


class AuditRepository:
    """Entries, as far as the caller sees them."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def entries(self, wanted: Filter, page: Page) -> Sequence[AnyRow]:
        """A page of them, the newest first."""
        query = select(*_ENTRY)
        if wanted.user_id is not None:
            query = query.where(AuditEntry.user_id == wanted.user_id)
        if wanted.patient_id is not None:
            query = query.where(AuditEntry.id.in_(select(func.audit_entries_about(wanted.patient_id))))
        if wanted.action is not None:
            query = query.where(AuditEntry.action == wanted.action)
        if wanted.outcome is not None:
            query = query.where(AuditEntry.outcome == wanted.outcome)
        if wanted.date_from is not None:
            query = query.where(AuditEntry.at >= wanted.date_from)
        if wanted.date_to is not None:
            query = query.where(AuditEntry.at <= wanted.date_to)
        return (await self._session.execute(page.of(query, AuditEntry.at, AuditEntry.id, newest_first=True))).all()

    async def accesses(self, patient_id: int, page: Page) -> Sequence[AnyRow]:
        """A page of who looked at a patient's data, the newest first; the database answers him and administrators."""
        before, before_id = page.after or LAST
        values = {"patient_id": patient_id, "before": before, "before_id": before_id}
        values |= {"skip": page.skip, "probe": page.probe}
        return (await self._session.execute(_ACCESSES, values)).all()


class ChainRepository:
    """The chain of seals."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def take_turn(self) -> bool:
        """Whether nobody else extends the chain as long as this transaction lasts."""
        return bool(await self._session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}))

    async def wait_for_turn(self) -> None:
        """Let nobody else extend the chain as long as this transaction lasts."""
        await self._session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})

    async def situation(self) -> Situation:
        """Where things stand, before this transaction has a number of its own."""
        row = (await self._session.execute(_SITUATION)).one()
        last = Link() if row.seq is None else Link(row.seq, row.mac, row.floor)
        return Situation(last, row.highest, row.oldest_running)

    async def own_transaction(self) -> int:
        """The number of this transaction, which is assigned now unless it has written."""
        return int(await self._session.scalar(_OWN_TRANSACTION))

    async def unsealed(self, floor: int, most: int) -> Sequence[AnyRow]:
        """`id` and `mac` of entries above the floor that are in no seal, in the order of ids."""
        return (await self._session.execute(_UNSEALED, {"floor": floor, "most": most})).all()

    async def append(self, links: Sequence[dict[str, Any]]) -> None:
        """Add links."""
        await self._session.execute(insert(AuditSeal), list(links))

    async def count(self) -> int:
        """How many links there are."""
        return int(await self._session.scalar(select(func.count()).select_from(AuditSeal)) or 0)

    async def checkpoints(self) -> Sequence[AnyRow]:
        """All checkpoints, the newest first."""
        query = select(*_PLACE, AuditSeal.key_id, AuditSeal.signature).where(AuditSeal.kind == Kind.CHECKPOINT)
        return (await self._session.execute(query.order_by(AuditSeal.seq.desc()))).all()

    async def links_after(self, seq: int) -> AsyncIterator[AnyRow]:
        """All links after that one in their order, each with its entry; where that is gone, its columns are null."""
        query = (
            select(*_LINK, *_ENTRY).outerjoin(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
            .where(AuditSeal.seq > seq).order_by(AuditSeal.seq)
        )  # fmt: skip
        async for row in await self._session.stream(query, execution_options={"yield_per": BATCH}):
            yield row

    async def all_unsealed(self) -> AsyncIterator[AnyRow]:
        """All entries that are in no seal, in the order of ids."""
        is_sealed = select(AuditSeal.seq).where(AuditSeal.entry_id == AuditEntry.id).exists()
        query = select(*_ENTRY).where(~is_sealed).order_by(AuditEntry.id)
        async for row in await self._session.stream(query, execution_options={"yield_per": BATCH}):
            yield row

    async def copies(self) -> Sequence[AnyRow]:
        """`first` and `last` id of entries that are one and the same."""
        entry = AuditEntry
        query = select(func.min(entry.id).label("first"), func.max(entry.id).label("last"))
        return (await self._session.execute(query.group_by(entry.nonce).having(func.count() > 1))).all()

    async def count_before(self, seq: int) -> int:
        """How many links stand before that one."""
        return int(await self._session.scalar(select(func.count()).where(AuditSeal.seq < seq)) or 0)

    async def last_before(self, instant: datetime) -> Link | None:
        """The last link before which, and with which, every entry is older than the instant."""
        first_kept = (
            select(func.min(AuditSeal.seq)).join(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
            .where(AuditEntry.at >= instant).scalar_subquery()
        )  # fmt: skip
        is_before = or_(first_kept.is_(None), AuditSeal.seq < first_kept)
        return await self._one(select(*_PLACE).where(is_before).order_by(AuditSeal.seq.desc()).limit(1))

    async def put_checkpoint(self, link: Link, key_id: str, signature: bytes) -> None:
        """Let a checkpoint take the place of this link, whose entry goes with it."""
        await self._session.execute(_DROP_LINKS, {"first": link.seq, "last": link.seq})
        values = {"seq": link.seq, "mac": link.mac, "floor": link.floor, "kind": Kind.CHECKPOINT}
        await self._session.execute(insert(AuditSeal).values(**values, key_id=key_id, signature=signature))

    async def drop_before(self, seq: int, most: int) -> int:
        """Delete some of the first links that stand before that one, with their entries; how many."""
        chosen = select(AuditSeal.seq).where(AuditSeal.seq < seq).order_by(AuditSeal.seq).limit(most)
        found = (await self._session.scalars(chosen)).all()
        if found:
            await self._session.execute(_DROP_LINKS, {"first": found[0], "last": found[-1]})
        return len(found)

    async def head(self) -> Link | None:
        """The last link."""
        return await self._one(select(*_PLACE).order_by(AuditSeal.seq.desc()).limit(1))

    async def _one(self, query: Select[int, bytes, int]) -> Link | None:
        row = (await self._session.execute(query)).one_or_none()
        return Link(row.seq, row.mac, row.floor) if row else None
