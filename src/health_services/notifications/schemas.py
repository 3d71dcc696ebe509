"""Messages, as the ledger shows them: never their words, never an address."""

from datetime import datetime

from health_services.api.fields import AnswerShape, example
from health_services.notifications.models import Channel, Kind, State


class NotificationRead(AnswerShape):
    """One message to one person.

    `lead_minutes` only for reminders; `due_at` is when it was planned for, `next_attempt_at` when it is looked at next
    while it is queued.
    """

    model_config = example(
        id=1,
        kind="appointment_reminder",
        channel="email",
        user_id=1,
        appointment_id=1,
        revision=0,
        lead_minutes=1440,
        state="queued",
        due_at="2026-03-01T10:00:00Z",
        next_attempt_at="2026-03-01T10:00:00Z",
        attempts=0,
        last_error=None,
        sent_at=None,
        created_at="2026-02-20T10:00:00Z",
        updated_at="2026-02-20T10:00:00Z",
    )

    id: int
    kind: Kind
    channel: Channel
    user_id: int
    appointment_id: int | None
    revision: int
    lead_minutes: int | None
    state: State
    due_at: datetime
    next_attempt_at: datetime
    attempts: int
    last_error: str | None
    sent_at: datetime | None
    created_at: datetime
    updated_at: datetime


class UnreachableRead(AnswerShape):
    """Somebody whom no channel reached, to be called; of an appointment where the message was about one."""

    model_config = example(
        notification_id=1,
        kind="appointment_cancelled",
        user_id=1,
        patient_id=1,
        name="Asha Rao",
        mobile_no="+91 98450 00000",
        last_error="no address",
        failed_at="2026-03-01T10:00:00Z",
        appointment_id=1,
        clinic_id=1,
        clinic_name="City Health Centre",
        starts_at="2026-03-02T10:00:00Z",
    )

    notification_id: int
    kind: Kind
    user_id: int
    patient_id: int | None
    name: str
    mobile_no: str | None
    last_error: str | None
    failed_at: datetime
    appointment_id: int | None
    clinic_id: int | None
    clinic_name: str | None
    starts_at: datetime | None
