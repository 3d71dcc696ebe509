"""The worker with all its lanes: gateways opened, and closed when it is done."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.announcements.service import of_disabled_webhook
from health_services.audit.sealer import Sealer
from health_services.database.base import AnyRow
from health_services.database.engine import Database
from health_services.database.key_file import vault_for
from health_services.earlier_visits.service import EarlierVisits
from health_services.notifications.carriers import MailCarrier, PushCarrier, SmsCarrier, Voice
from health_services.notifications.models import Channel
from health_services.notifications.sender import Carrier, Sender
from health_services.notifications.unsubscribing import links_of
from health_services.outgoing.http import outgoing_session
from health_services.outgoing.mail import folder_of_mails, mailer_of, sender_of
from health_services.outgoing.push import push_gateway_of
from health_services.outgoing.sms import sms_gateway_of
from health_services.privacy.retention import Periods, Retention
from health_services.settings import Settings
from health_services.webhooks.delivery import Deliveries
from health_services.worker import Lane, Worker

# Enough for all lanes to write down what became of their messages; requests have connections of their own.
POOL_SIZE = 4
STATEMENT_TIMEOUT_MS = 30_000


async def _tell_of_disabled(session: AsyncSession, webhook: AnyRow, delivery_id: int) -> None:
    await of_disabled_webhook(session, webhook, delivery_id, datetime.now(UTC))


def _retention(database: Database, settings: Settings) -> Retention:
    periods = Periods(
        messages=timedelta(days=settings.retention_message_days),
        deliveries=timedelta(days=settings.retention_delivery_days),
        sessions=timedelta(days=settings.retention_session_days),
    )
    return Retention(database, periods, folder_of_mails(settings))


@asynccontextmanager
async def open_worker(settings: Settings, role: str | None) -> AsyncIterator[Worker]:
    """A worker on connections of its own; its gateways are closed at the end."""
    assert settings.database_url is not None, "the launcher decides which database"
    vault = vault_for(settings)
    database = Database.connect(
        settings.database_url.get_secret_value(),
        role=role,
        pool_size=POOL_SIZE,
        pool_timeout=settings.database_pool_timeout,
        timeouts={"statement_timeout_ms": STATEMENT_TIMEOUT_MS, "lock_timeout_ms": settings.lock_timeout_ms},
        vault=vault,
        is_service=True,
        has_pooler=settings.database_pooler,
    )
    links = links_of(settings)
    voice = Voice(settings.default_locale, links)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(database.close)
        mailer, sms, push = mailer_of(settings), sms_gateway_of(settings), push_gateway_of(settings)
        for gateway in (mailer, sms, push):
            closing.push_async_callback(gateway.close)
        carriers: dict[Channel, Carrier] = {
            Channel.EMAIL: MailCarrier(mailer, voice, sender_of(settings).addr_spec, vault),
            Channel.SMS: SmsCarrier(sms, voice),
            Channel.PUSH: PushCarrier(push, voice, database),
        }
        http = await closing.enter_async_context(outgoing_session(allow_private=settings.webhook_allow_private))
        concurrency = settings.worker_concurrency
        lanes = [
            Lane(channel, Sender(database, channel, carrier), concurrency) for channel, carrier in carriers.items()
        ]
        deliveries = Deliveries(database, http, links.secrets, concurrency=concurrency, announce=_tell_of_disabled)
        lanes += [Lane("webhooks", deliveries, concurrency), Lane("earlier visits", EarlierVisits(database), 1)]
        lanes += [Lane("audit", Sealer(database), 1), Lane("retention", _retention(database, settings), 1)]
        yield Worker(lanes, poll_seconds=settings.worker_poll_seconds)
