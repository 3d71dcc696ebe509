"""The tables of sessions and their refresh tokens."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Base


class SignIn(Base):
    """One sign-in on one device: the family of its refresh tokens.

    `authenticated_at` is when the person last proved who he is, `methods` how (RFC 8176). A trigger ends all sessions
    of an account whose password, role or activity changes.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_sessions_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("ix_sessions_expires_at", "expires_at", postgresql_where=text("ended_at IS NULL")),
        CheckConstraint("(ended_at IS NULL) = (ended_reason IS NULL)", name="ended"),
        {"postgresql_with": {"fillfactor": 80}},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    client: Mapped[str | None]
    address: Mapped[str | None]
    is_cookie: Mapped[bool] = mapped_column(server_default=text("false"))
    methods: Mapped[list[str]] = mapped_column(ARRAY(String), server_default=text("'{pwd}'"))
    authenticated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RefreshToken(Base):
    """A token of a session: used once, for the next one; `successor` is that one, encrypted with a key made of it."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("ix_refresh_tokens_session_id", "session_id"),
        Index("ix_refresh_tokens_user_id", "user_id"),
        CheckConstraint("(used_at IS NULL) = (successor IS NULL)", name="used"),
    )

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    successor: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
