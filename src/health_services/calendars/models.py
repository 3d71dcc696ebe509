"""The feeds that people have asked for; of their tokens only the hash is kept."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base


class CalendarFeed(Base):
    """A person's one feed."""

    __tablename__ = "calendar_feeds"
    __table_args__ = (Index("ix_calendar_feeds_token_hash", "token_hash", unique=True),)

    user_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("users.id"), primary_key=True, autoincrement=False)
    token_hash: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
