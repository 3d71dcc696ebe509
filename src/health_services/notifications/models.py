"""The ledger: one row for each message."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record


class Kind(StrEnum):
    """What a message is about."""

    APPOINTMENT_BOOKED = "appointment_booked"
    APPOINTMENT_CONFIRMED = "appointment_confirmed"
    APPOINTMENT_CANCELLED = "appointment_cancelled"
    APPOINTMENT_RESCHEDULED = "appointment_rescheduled"
    APPOINTMENT_REMINDER = "appointment_reminder"
    WAITLIST_OFFER = "waitlist_offer"
    EMAIL_VERIFICATION = "email_verification"
    PASSWORD_RESET = "password_reset"  # noqa: S105
    SECURITY_NOTICE = "security_notice"


# Nobody can switch these off: they tell of what may be somebody else's doing.
SECURITY_KINDS = frozenset({Kind.EMAIL_VERIFICATION, Kind.PASSWORD_RESET, Kind.SECURITY_NOTICE})


# They carry a link that lets its reader in, so they go to the e-mail address only, and nobody can call instead.
MAILED_KINDS = frozenset({Kind.EMAIL_VERIFICATION, Kind.PASSWORD_RESET})


class Channel(StrEnum):
    """How a message reaches a person; in the order in which they are tried unless the person says otherwise."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class State(StrEnum):
    """What became of a message: waiting, sent, given up and held for somebody to look at, or no longer wanted."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    # One constant: PostgreSQL parses this in every statement that writes a message.
    return CheckConstraint(f"{column} = ANY ('{{{','.join(values)}}}'::text[])", name=column)


# As `planning.Message.dedupe_key`, and made by the database, so that nobody writes a message under another's.
_DEDUPE_KEY = (
    "kind || '/' || user_id::text || '/' || channel || '/' || subject || '/' || revision::text || '/' "
    "|| COALESCE(lead_minutes::text, '-')"
)


class Notification(Record):
    """One message to one person through one channel.

    `subject` is what it is about, as in `appointment:12`, and `revision` that thing's own; `lead_minutes` only for
    reminders. `due_at` is when it was planned for, `next_attempt_at` when the worker looks at it next.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        _one_of("kind", Kind),
        _one_of("channel", Channel),
        _one_of("state", State),
        CheckConstraint("appointment_id IS NULL OR subject = 'appointment:' || appointment_id::text", name="subject"),
        Index("ix_notifications_dedupe_key", "dedupe_key", unique=True),
        Index("ix_notifications_appointment_id", "appointment_id"),
        Index(
            "ix_notifications_channel_next_attempt_at",
            *("channel", "next_attempt_at"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_notifications_channel_due_at_tried",
            *("channel", "due_at"),
            postgresql_where=text("state = 'queued' AND attempts > 0"),
        ),
        Index("ix_notifications_state", "state", "id", postgresql_where=text("state <> 'sent'")),
        Index("ix_notifications_channel_failed", "channel", "id", postgresql_where=text("state = 'failed'")),
        Index(
            "ix_notifications_unreachable",
            *(text("COALESCE(expires_at, 'infinity')"), "id"),
            postgresql_where=text("is_unreachable"),
        ),
        Index("ix_notifications_other_channels", "channel", "id", postgresql_where=text("channel <> 'email'")),
        Index(
            "ix_notifications_other_kinds",
            *("kind", "id"),
            postgresql_where=text(
                "kind NOT IN ('appointment_booked', 'appointment_cancelled', 'appointment_reminder')"
            ),
        ),
        Index(
            "ix_notifications_created_at_kept",
            "created_at",
            postgresql_where=text("data <> '{}'::jsonb AND state <> 'queued'"),
        ),
        {"postgresql_with": {"fillfactor": 80}},
    )

    dedupe_key: Mapped[str] = mapped_column(Computed(_DEDUPE_KEY, persisted=True), init=False)
    kind: Mapped[str]
    channel: Mapped[str]
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    subject: Mapped[str]
    due_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime]
    appointment_id: Mapped[int | None] = mapped_column(ForeignKey("appointments.id"), default=None)
    revision: Mapped[int] = mapped_column(Integer, server_default=text("0"), init=False)
    lead_minutes: Mapped[int | None] = mapped_column(Integer, default=None)
    starts_at: Mapped[datetime | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), init=False)
    state: Mapped[str] = mapped_column(server_default=text("'queued'"), init=False)
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"), init=False)
    last_error: Mapped[str | None] = mapped_column(default=None)
    is_unreachable: Mapped[bool] = mapped_column(server_default=text("false"), init=False)
    sent_at: Mapped[datetime | None] = mapped_column(default=None)
