"""The tables of the audit: its entries, and the chain that they are sealed into."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Index,
    SmallInteger,
    String,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from health_services.database.base import Base


class Outcome(StrEnum):
    """How a request ended."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"


class Kind(StrEnum):
    """What a seal stands for: an entry, or everything that was pruned before it."""

    ENTRY = "entry"
    CHECKPOINT = "checkpoint"


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8, which nothing here reads or writes."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Its name in SQL."""
        return "xid8"


# Alembic compares what it finds with what is said here.
ischema_names["xid8"] = TransactionId


class AuditEntry(Base):
    """One request about somebody, told by ids alone; `mac` is the writer's, over all but `xid` and `id`.

    `xid` stands first, so that a transaction has its number before it draws an id (sealer.py tells why).
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index(
            "ix_audit_log_patient",
            *(text("(patient_ids[1])"), "at", "id"),
            postgresql_where=text("cardinality(patient_ids) = 1"),
        ),
        Index(
            "ix_audit_log_patients",
            "patient_ids",
            postgresql_using="gin",
            postgresql_where=text("cardinality(patient_ids) > 1"),
        ),
        Index("ix_audit_log_account", text("(user_ids[1])"), "id", postgresql_where=text("cardinality(user_ids) = 1")),
        Index(
            "ix_audit_log_accounts",
            "user_ids",
            postgresql_using="gin",
            postgresql_where=text("cardinality(user_ids) > 1"),
        ),
        Index("ix_audit_log_user_id", "user_id", "at", "id"),
        Index("ix_audit_log_action", "action", "at", "id"),
        Index("ix_audit_log_outcome", "outcome", "at", "id", postgresql_where=text("outcome <> 'success'")),
        Index("ix_audit_log_at", "at", "id"),
        CheckConstraint("outcome IN ('success', 'refused', 'failed')", name="outcome"),
    )

    xid: Mapped[int] = mapped_column(TransactionId, server_default=text("pg_current_xact_id()"))
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    nonce: Mapped[uuid.UUID]
    at: Mapped[datetime]
    user_id: Mapped[int | None]
    via: Mapped[str | None]
    action: Mapped[str]
    object: Mapped[str | None]
    patient_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    user_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    address: Mapped[str | None]
    outcome: Mapped[str]
    status: Mapped[int] = mapped_column(SmallInteger)
    request_id: Mapped[str]
    key_id: Mapped[str]
    mac: Mapped[bytes]


class AuditSeal(Base):
    """A link of the chain, over the one before and its entry; `floor` is the id below which no entry can come any more.

    A checkpoint stands in the place of the last seal that was pruned and keeps its `mac`, under a `signature`.
    """

    __tablename__ = "audit_seals"
    __table_args__ = (
        Index("ix_audit_seals_entry_id", "entry_id", unique=True),
        CheckConstraint("kind IN ('entry', 'checkpoint')", name="kind"),
        CheckConstraint("(entry_id IS NULL) = (kind = 'checkpoint')", name="entry_id"),
        CheckConstraint("(signature IS NULL) = (kind = 'entry')", name="signature"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[int | None]
    floor: Mapped[int]
    kind: Mapped[str] = mapped_column(String, server_default=text("'entry'"))
    sealed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    key_id: Mapped[str]
    mac: Mapped[bytes]
    signature: Mapped[bytes | None]
