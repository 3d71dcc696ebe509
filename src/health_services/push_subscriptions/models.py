"""Browsers and the keys that only they can read with."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record


class PushSubscription(Record):
    """One browser of one person; `p256dh` and `auth` are base64url texts, as browsers give them.

    `failing_since` is the first time its push service was not reached since it last took a message; nothing is sent
    until `held_until`. Both are null while all is well.
    """

    __tablename__ = "push_subscriptions"
    __table_args__ = (
        CheckConstraint("(failing_since IS NULL) = (held_until IS NULL)", name="held_until"),
        Index("ix_push_subscriptions_endpoint", "endpoint", unique=True),
        Index("ix_push_subscriptions_user_id", "user_id"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    endpoint: Mapped[str]
    p256dh: Mapped[str]
    auth: Mapped[str]
    failing_since: Mapped[datetime | None] = mapped_column(default=None)
    held_until: Mapped[datetime | None] = mapped_column(default=None)
