"""From a row of the ledger to a mail, an SMS or a push."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import DBAPIError

from health_services.calendars.ics import invitation
from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.database.sealing import Vault
from health_services.languages.locales import locale_for
from health_services.languages.speaking import Speaker
from health_services.notifications.enclosures import opened
from health_services.notifications.models import Kind
from health_services.notifications.rendering import push_payload, render, sms_text
from health_services.notifications.unsubscribing import UnsubscribeLinks
from health_services.notifications.wording import Content, Visit, content_of
from health_services.outgoing.errors import NotNow, SendingFailed, Undeliverable
from health_services.outgoing.http import NoAnswer
from health_services.outgoing.mail import Mail, Mailer
from health_services.outgoing.push import PushGateway, Subscription, SubscriptionGone
from health_services.outgoing.sms import SmsGateway
from health_services.push_subscriptions.repository import PushSubscriptionRepository

# With these comes an invitation, or its withdrawal, for the person's calendar.
INVITING = frozenset(
    {
        Kind.APPOINTMENT_BOOKED,
        Kind.APPOINTMENT_CONFIRMED,
        Kind.APPOINTMENT_CANCELLED,
        Kind.APPOINTMENT_RESCHEDULED,
    }
)
# The page at HEALTH_PUBLIC_URL (auth/pages.py) to which each kind of link leads.
_PAGES = {
    "email_verification": "verify-email",
    "password_reset": "reset-password",
    "invitation": "accept-invitation",
}
log = structlog.get_logger("health_services.messages")

# A browser that was off for longer than this has other ways to learn of it.
PUSH_TTL_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Voice:
    """In which language and with which links a person is spoken to."""

    default_locale: str
    links: UnsubscribeLinks

    def content(self, row: AnyRow, unsubscribe_url: str | None = None, token: str | None = None) -> Content:
        """What the message says; `token` is that of the link to one of our pages, after which it is asked."""
        locale = locale_for(row.locale, row.preferred_language, default=self.default_locale)
        data: Mapping[str, Any] = orjson.loads(row.data)
        if token is not None:
            # in the fragment, which no server and no log ever sees
            data = {**data, "url": f"{self.links.base_url}/{_PAGES[data['about']]}#token={token}"}
        return content_of(
            Kind(row.kind), locale, name=row.name, visit=_visit(row), data=data, unsubscribe_url=unsubscribe_url
        )


def _visit(row: AnyRow) -> Visit | None:
    if row.appointment_id is None:
        return None
    place = " ".join(filter(None, [row.clinic_zip_code, row.clinic_city]))
    return Visit(
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        time_zone=row.time_zone,
        doctor_name=row.doctor_name,
        clinic_name=row.clinic_name,
        clinic_address=", ".join(filter(None, [row.clinic_address, place])) or None,
        clinic_phone=row.clinic_phone,
        clinic_email=row.clinic_email,
    )


@dataclass(frozen=True)
class MailCarrier:
    """Sends mails; `sender` is the address they come from, `vault` opens what is enclosed."""

    mailer: Mailer
    voice: Voice
    sender: str
    vault: Vault

    async def carry(self, row: AnyRow) -> None:
        """Send one mail, with an invitation where it changes the person's calendar."""
        contents = opened(self.vault, row.user_id, orjson.loads(row.data))
        address = contents.get("to", row.email)
        if address is None:
            raise Undeliverable("no e-mail address")
        kind = Kind(row.kind)
        stop = self.voice.links.url(row.user_id, kind)
        content = self.voice.content(row, stop, contents.get("token"))
        text, html = render(content)
        calendar, method = None, None
        if kind in INVITING:
            calendar, method = invitation(
                row, Speaker(content.locale), to_name=row.name, to_email=address, sender=self.sender
            )
        headers = {"List-Unsubscribe": f"<{stop}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        mail = Mail(
            to=address,
            subject=content.subject,
            text=text,
            html=html,
            message_id=self._message_id(row.id),
            language=content.locale,
            calendar=calendar,
            calendar_method=method,
            headers=headers if stop else {},
        )
        await self.mailer.send(mail)

    def _message_id(self, notification_id: int) -> str:
        """The same at every attempt, so that a mail that was sent twice can be seen to be one."""
        key = hashlib.sha256(self.voice.links.secrets[0]).digest()
        mark = hashlib.blake2b(b"%d" % notification_id, key=key, digest_size=12).hexdigest()
        return f"{notification_id}.{mark}@{self.sender.rpartition('@')[2].rstrip('>')}"


@dataclass(frozen=True)
class SmsCarrier:
    """Sends SMS."""

    gateway: SmsGateway
    voice: Voice

    async def carry(self, row: AnyRow) -> None:
        """Send one SMS."""
        if row.mobile_no is None:
            raise Undeliverable("no mobile number")
        await self.gateway.send(row.mobile_no, sms_text(self.voice.content(row)), f"notification-{row.id}")


@dataclass(frozen=True)
class PushCarrier:
    """Pushes to all browsers of a person; one that takes the message is enough.

    One whose push service was not reached is left alone for a while, so that its silence delays nobody for long.
    """

    gateway: PushGateway
    voice: Voice
    database: Database

    async def carry(self, row: AnyRow) -> None:
        """Push to every subscription at once that is not held, and forget those that are gone."""
        async with self.database.reading() as session:
            subscriptions = await PushSubscriptionRepository(session).of_user(row.user_id)
        payload = push_payload(self.voice.content(row), tag=row.subject)
        outcomes = await asyncio.gather(*(self._push(found, row, payload) for found in subscriptions))
        if None not in outcomes:
            later = [failure for failure in outcomes if isinstance(failure, NotNow)]
            raise min(later, key=lambda f: f.retry_after or 0, default=Undeliverable("no browser takes it"))

    async def _push(self, found: AnyRow, row: AnyRow, payload: bytes) -> SendingFailed | None:
        """Why one browser did not get it; None if it did."""
        if found.held_until is not None and found.held_until > row.now:
            return NotNow("no push service was reached a moment ago", (found.held_until - row.now).total_seconds())
        try:
            subscription = Subscription(found.endpoint, found.p256dh, found.auth)
            await self.gateway.send(subscription, payload, ttl=_ttl(row), topic=f"n{row.id}")
        except SendingFailed as failure:
            await self._write_down(found, failure)
            return failure
        await self._write_down(found, None)
        return None

    async def _write_down(self, found: AnyRow, failure: SendingFailed | None) -> None:
        """What the attempt says of the subscription; an answer that is neither yes nor gone says nothing.

        What cannot be written down is found out again: other browsers have the message, and are not sent it twice.
        """
        try:
            async with self.database.writing() as session, session.begin():
                subscriptions = PushSubscriptionRepository(session)
                if isinstance(failure, SubscriptionGone):
                    await subscriptions.forget(found.id)
                elif isinstance(failure, NoAnswer):
                    await subscriptions.hold(found.id)
                elif failure is None and found.held_until is not None:
                    await subscriptions.end_hold(found.id)
        except DBAPIError as error:
            log.warning("a push subscription is not written down", error=type(error).__name__)


def _ttl(row: AnyRow) -> int:
    """Seconds for which a push service keeps the message: none once it would come too late."""
    if row.expires_at is None:
        return PUSH_TTL_SECONDS
    return max(0, min(PUSH_TTL_SECONDS, int((row.expires_at - row.now).total_seconds())))
