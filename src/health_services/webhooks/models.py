"""Endpoints of other systems, and what was sent to them."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from health_services.database.base import Record


class Event(StrEnum):
    """What other systems can be told of."""

    APPOINTMENT_BOOKED = "appointment.booked"
    APPOINTMENT_CONFIRMED = "appointment.confirmed"
    APPOINTMENT_CANCELLED = "appointment.cancelled"
    APPOINTMENT_RESCHEDULED = "appointment.rescheduled"
    APPOINTMENT_COMPLETED = "appointment.completed"
    APPOINTMENT_NO_SHOW = "appointment.no_show"
    SLOT_CREATED = "slot.created"
    SLOT_DELETED = "slot.deleted"


class Webhook(Record):
    """Where one other system listens; its secrets stand here only as ciphertext.

    `failing_since` is the first time it was not reached since anything succeeded there; then nothing is sent to it
    until `held_until`, and one delivery at a time from then on. Both are null while all is well.
    """

    __tablename__ = "webhooks"
    __table_args__ = (CheckConstraint("(failing_since IS NULL) = (held_until IS NULL)", name="held_until"),)

    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(String))
    secret: Mapped[bytes]
    previous_secret: Mapped[bytes | None] = mapped_column(default=None)
    previous_secret_until: Mapped[datetime | None] = mapped_column(default=None)
    is_active: Mapped[bool] = mapped_column(default=True, server_default=text("true"))
    disabled_reason: Mapped[str | None] = mapped_column(default=None)
    failing_since: Mapped[datetime | None] = mapped_column(default=None)
    held_until: Mapped[datetime | None] = mapped_column(default=None)
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    created_by_user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), default=None)

    def end_hold(self) -> None:
        """Send as if it had never failed."""
        self.failing_since = self.held_until = None


_KEPT = text("body <> '' AND state <> 'queued'")


class WebhookDelivery(Record):
    """One event for one endpoint: the same `message_id` and `body` at every attempt; without a body, it is forgotten.

    `webhook_id` is no foreign key: each booking would lock the one row of the webhook that is told of it, and nothing
    ever removes a webhook. `subject` is what the event is about, as in `appointment:12`: those of one subject are sent
    in their order.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'sent', 'failed', 'skipped')", name="state"),
        Index("ix_webhook_deliveries_webhook_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_state", "webhook_id", "state", "id", postgresql_where=text("state <> 'sent'")),
        Index(
            "ix_webhook_deliveries_next_attempt_at",
            *("webhook_id", "next_attempt_at"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_webhook_deliveries_created_at_tried",
            *("webhook_id", "created_at"),
            postgresql_where=text("state = 'queued' AND attempts > 0"),
        ),
        Index(
            "ix_webhook_deliveries_subject",
            *("webhook_id", "subject", "id"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_webhook_deliveries_failed", "id", postgresql_where=text("state = 'failed'")),
        Index("ix_webhook_deliveries_created_at_kept", "created_at", postgresql_where=_KEPT),
        Index("ix_webhook_deliveries_subject_kept", "subject", postgresql_where=_KEPT),
        {"postgresql_with": {"fillfactor": 80}},
    )

    webhook_id: Mapped[int]
    message_id: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"), init=False)
    event: Mapped[str]
    subject: Mapped[str]
    body: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'queued'"), init=False)
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=text("now()"), init=False)
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"), init=False)
    first_attempt_at: Mapped[datetime | None] = mapped_column(init=False, default=None)
    response_status: Mapped[int | None] = mapped_column(Integer, init=False, default=None)
    last_error: Mapped[str | None] = mapped_column(init=False, default=None)
    sent_at: Mapped[datetime | None] = mapped_column(init=False, default=None)
