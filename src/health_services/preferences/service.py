"""What a person wants of messages, and what follows for those already planned."""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.trail import Trail
from health_services.database.context import as_service
from health_services.errors import FieldError, ResourceNotFoundException, ValidationException
from health_services.languages.locales import locale_for
from health_services.languages.speaking import Speaker
from health_services.notifications.models import SECURITY_KINDS, Channel, Kind
from health_services.notifications.service import replan
from health_services.notifications.unsubscribing import UnsubscribeLinks
from health_services.preferences.models import NotificationPreferences
from health_services.preferences.repository import PreferencesRepository
from health_services.preferences.schemas import PreferencesRead, PreferencesUpdate, QuietHours


async def read(session: AsyncSession, user_id: int) -> PreferencesRead:
    """What the person chose, and what is usual where he chose nothing."""
    return _shown(await PreferencesRepository(session).get(user_id))


async def update(session: AsyncSession, user_id: int, request: PreferencesUpdate, now: datetime) -> PreferencesRead:
    """Change what was sent, and let reminders follow; raises ValidationException."""
    _refuse_silence(request)
    preferences = PreferencesRepository(session)
    row = await preferences.get_for_update(user_id)
    await preferences.save(row, _columns(row, request.sent(), request.quiet_hours))
    await replan(session, user_id, now)
    return _shown(row)


def _refuse_silence(request: PreferencesUpdate) -> None:
    """Security messages always go by mail: whoever took over an account must not be able to hide it."""
    errors = [
        FieldError(f"channels.{kind}", "tells of what concerns the safety of the account and must keep email")
        for kind, channels in (request.channels or {}).items()
        if kind in SECURITY_KINDS and Channel.EMAIL not in channels
    ]
    if errors:
        raise ValidationException(f"{errors[0].field}: {errors[0].message}", errors=errors)


def _columns(row: NotificationPreferences, sent: dict[str, Any], quiet: QuietHours | None) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: sent[name] for name in ("reminder_lead_minutes", "time_zone", "locale") if name in sent
    }
    if "channels" in sent:
        chosen = {str(kind): [str(channel) for channel in channels] for kind, channels in sent["channels"].items()}
        columns["channels"] = row.channels | chosen
    if "quiet_hours" in sent:
        columns |= {"quiet_from": quiet.start if quiet else None, "quiet_until": quiet.end if quiet else None}
    return columns


def _shown(row: NotificationPreferences | None) -> PreferencesRead:
    chosen = row.channels if row else {}
    quiet = None
    if row is not None and row.quiet_from is not None and row.quiet_until is not None:
        quiet = QuietHours(start=row.quiet_from, end=row.quiet_until)
    return PreferencesRead(
        channels={kind: [Channel(name) for name in chosen.get(kind, list(Channel))] for kind in Kind},
        reminder_lead_minutes=sorted(row.reminder_lead_minutes, reverse=True) if row else [1440, 120],
        quiet_hours=quiet,
        time_zone=row.time_zone if row else None,
        locale=row.locale if row else None,
    )


def meant(links: UnsubscribeLinks, token: str, trail: Trail) -> tuple[int, Kind]:
    """Whose link it is and what it stops; raises ResourceNotFoundException for one that we did not make."""
    found = links.read(token)
    if found is None:
        raise ResourceNotFoundException
    trail.who(found[0], "link in a message")
    return found


async def speaker(session: AsyncSession, user_id: int, default_locale: str) -> Speaker:
    """Speaks the person's language, else that of `default_locale`; a link has proved whose it is."""
    async with as_service(session):
        chosen = await PreferencesRepository(session).languages(user_id)
    return Speaker(locale_for(chosen.locale, chosen.preferred_language, default=default_locale))


async def unsubscribe(session: AsyncSession, user_id: int, kind: Kind, now: datetime) -> None:
    """Send no more messages of this kind, on any channel, until the person wants them again; a link has proved it."""
    async with as_service(session):
        await update(session, user_id, PreferencesUpdate(channels={kind: []}), now)
