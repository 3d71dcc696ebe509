"""What a person chose; who chose nothing has no row."""

from datetime import datetime, time
from typing import Any

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Integer, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base


class NotificationPreferences(Base):
    """`channels` maps a kind of message to its channels in order; kinds that are not there go the usual way.

    `quiet_from` and `quiet_until` are wall times in `time_zone`, or in that of the clinic where that is null.
    """

    __tablename__ = "notification_preferences"
    __table_args__ = (CheckConstraint("(quiet_from IS NULL) = (quiet_until IS NULL)", name="quiet_hours"),)

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True, autoincrement=False)
    channels: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    reminder_lead_minutes: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{1440,120}'"))
    quiet_from: Mapped[time | None]
    quiet_until: Mapped[time | None]
    time_zone: Mapped[str | None]
    locale: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
