"""Tables that belong to no feature: answers that idempotency keys give again, and the installation's name."""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base


class IdempotencyKey(Base):
    """The first answer to a caller's key: the key only as a hash, the answer only as ciphertext."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    status: Mapped[int] = mapped_column(SmallInteger)
    answer: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Installation(Base):
    """The one row that names this installation wherever its identifiers travel.

    `older_bookings_until`: what was booked before may have been booked by a version that planned no reminders; null
    where there was none.
    """

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("is_only", name="is_only"),)

    is_only: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    id: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    older_bookings_until: Mapped[datetime | None]
