"""Browsers and the keys that only they can read with."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record


class PushSubscription(Record):
    """One browser of one person; `p256dh` and `auth` are base64url texts, as browsers give them."""

    __tablename__ = "push_subscriptions"
    __table_args__ = (
        Index("ix_push_subscriptions_endpoint", "endpoint", unique=True),
        Index("ix_push_subscriptions_user_id", "user_id"),
    )

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    endpoint: Mapped[str]
    p256dh: Mapped[str]
    auth: Mapped[str]
