"""What has to be told of an event: messages to people, events to other systems."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.announcements.repository import AnnouncementRepository
from health_services.database.base import AnyRow
from health_services.notifications.enclosures import enclosed
from health_services.notifications.models import Kind
from health_services.notifications.planning import Contact, Message, PlannedVisit, at_once, mail, notice, reminders
from health_services.notifications.repository import NotificationRepository
from health_services.one_time_tokens.models import Purpose
from health_services.one_time_tokens.service import MAILED
from health_services.webhooks.events import body_of
from health_services.webhooks.models import Event

# Each thing that happens to an appointment: what other systems call it.
EVENTS = {
    Kind.APPOINTMENT_BOOKED: Event.APPOINTMENT_BOOKED,
    Kind.APPOINTMENT_CONFIRMED: Event.APPOINTMENT_CONFIRMED,
    Kind.APPOINTMENT_CANCELLED: Event.APPOINTMENT_CANCELLED,
    Kind.APPOINTMENT_RESCHEDULED: Event.APPOINTMENT_RESCHEDULED,
}
# After these, what was planned before is not true any more; after those, the patient is reminded.
SUPERSEDING = frozenset({Kind.APPOINTMENT_CANCELLED, Kind.APPOINTMENT_RESCHEDULED})
REMINDING = frozenset({Kind.APPOINTMENT_BOOKED, Kind.APPOINTMENT_RESCHEDULED})


@dataclass(frozen=True)
class Happening:
    """Something that happened to an appointment.

    `shown` is the appointment as the API shows it; `data` what the message has to know besides.
    """

    kind: Kind
    visit: PlannedVisit
    contact: Contact
    shown: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)


async def of_appointment(session: AsyncSession, happening: Happening, now: datetime, *, is_urgent: bool = True) -> None:
    """Write all that is to be sent about it, in the transaction of the change itself.

    One round trip; none unless it is urgent: then it is written before the commit.
    """
    kind, visit = happening.kind, happening.visit
    messages = at_once(kind, happening.contact, visit, now, happening.data)
    if kind in REMINDING:
        messages += reminders(happening.contact, visit, now)
    event = {
        "event": EVENTS[kind],
        "subject": visit.subject,
        "body": body_of(EVENTS[kind], now, happening.shown),
    }
    await AnnouncementRepository(session).write(
        messages=_rows(messages),
        events=[event],
        superseded=visit.appointment_id if kind in SUPERSEDING else None,
        is_urgent=is_urgent,
    )


async def of_slots(session: AsyncSession, event: Event, slots: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Tell other systems of slots made or taken back; `slots` as the API shows them."""
    events = [{"event": event, "subject": f"slot:{slot['id']}", "body": body_of(event, now, slot)} for slot in slots]
    await AnnouncementRepository(session).write(messages=[], events=events, superseded=None)


async def of_account(
    session: AsyncSession, about: str, user_id: int, now: datetime, *, to: str | None = None, **data: Any
) -> None:
    """Tell somebody what was done to his account, in the transaction of the deed; two round trips.

    `about` names the sentences (notifications/notices.py), `data` fills their places: nothing personal, it stands in
    the ledger. `to` is an e-mail address that the account does not have any more; it is kept sealed until it is used.
    """
    data = {"about": about, **data}
    subject = f"account:{user_id}:{about}:{now:%Y%m%dT%H%M%S.%f}"
    if to is None:
        contact = Contact.read(await NotificationRepository(session).contact(user_id))
        messages = notice(Kind.SECURITY_NOTICE, contact, subject, now, data)
    else:
        messages = [mail(Kind.SECURITY_NOTICE, user_id, subject, now, data | enclosed(session, user_id, to=to))]
    await AnnouncementRepository(session).write(messages=_rows(messages), events=[], superseded=None)


async def of_failed_logins(session: AsyncSession, user_id: int | None, now: datetime) -> None:
    """Tell somebody, once a day at most, that his password is being guessed; for nobody, the same work is done."""
    data = {"about": "failed_logins"}
    subject = f"account:{user_id}:failed_logins:{now:%Y%m%d}"
    message = mail(Kind.SECURITY_NOTICE, user_id or 0, subject, now, data)
    messages = _rows([message] if user_id is not None else [])
    await AnnouncementRepository(session).write(messages=messages, events=[], superseded=None)


async def mail_token(
    session: AsyncSession,
    purpose: Purpose,
    user_id: int,
    token: str,
    now: datetime,
    *,
    is_wanted: bool = True,
    **data: Any,
) -> None:
    """Mail somebody a link with this token, which was issued for one of MAILED purposes; one round trip.

    The ledger has it only sealed, and only until the mail is out; a mail that would come after the token has expired
    is not sent. Where it is not wanted the same work is done, and nothing is written.
    """
    message = mail(
        Kind.PASSWORD_RESET if purpose is Purpose.PASSWORD_RESET else Kind.EMAIL_VERIFICATION,
        user_id,
        f"account:{user_id}:{purpose}:{now:%Y%m%dT%H%M%S.%f}",
        now,
        {"about": purpose, **data} | enclosed(session, user_id, token=token),
        expires_at=now + MAILED[purpose],
    )
    await AnnouncementRepository(session).write(messages=_rows([message][:is_wanted]), events=[], superseded=None)


async def of_disabled_webhook(session: AsyncSession, webhook: AnyRow, delivery_id: int, now: datetime) -> None:
    """Tell whoever made an endpoint that it was switched off, after that delivery failed for the last time."""
    if webhook.created_by_user_id is None:
        return
    contact = Contact.read(await NotificationRepository(session).contact(webhook.created_by_user_id))
    data = {"about": "webhook_disabled", "host": urlsplit(webhook.url).hostname or ""}
    # the same delivery, sent again by an administrator, may be the reason a second time
    subject = f"webhook:{webhook.id}:{delivery_id}:{now:%Y%m%dT%H%M%S}"
    messages = notice(Kind.SECURITY_NOTICE, contact, subject, now, data)
    await AnnouncementRepository(session).write(messages=_rows(messages), events=[], superseded=None)


def _rows(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [message.row() for message in messages]
