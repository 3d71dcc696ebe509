"""Giving and taking back feeds, and what stands in them."""

import asyncio
import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller, act_as
from health_services.access.trail import Trail
from health_services.calendars.repository import CalendarRepository
from health_services.calendars.schemas import CalendarFeedRead
from health_services.database.base import AnyRow
from health_services.errors import AuthenticationException, ResourceNotFoundException
from health_services.languages.locales import locale_for
from health_services.languages.speaking import Speaker

# How long what is over stays in a feed, and how much a feed may hold.
PAST = timedelta(days=90)
MOST = 2000
TOKEN_BYTES = 32


async def open_feed(session: AsyncSession, caller: Caller) -> str:
    """The token of the caller's new feed, which replaces the one before; only its hash is kept."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    await CalendarRepository(session).replace(caller.id, _hash(token))
    return token


async def read_feed(session: AsyncSession, caller: Caller) -> CalendarFeedRead:
    """Since when the caller has his feed; raises ResourceNotFoundException without one."""
    created_at = await CalendarRepository(session).created_at(caller.id)
    if created_at is None:
        raise ResourceNotFoundException("You have no calendar feed.")
    return CalendarFeedRead(created_at=created_at)


async def close_feed(session: AsyncSession, caller: Caller) -> None:
    """End the caller's feed, if he has one."""
    await CalendarRepository(session).remove(caller.id)


async def feed(session: AsyncSession, trail: Trail, token: str, now: datetime, default_locale: str) -> bytes:
    """The feed of this token: its owner's appointments as patient and, with the role doctor, as doctor.

    In his language, else in that of `default_locale`.
    Raises the same ResourceNotFoundException for every token that opens nothing.
    """
    feeds = CalendarRepository(session)
    owner_id = await feeds.owner(_hash(token))
    if owner_id is None:
        raise ResourceNotFoundException
    try:
        owner = await act_as(session, owner_id, None, trail)
    except AuthenticationException:  # not active
        raise ResourceNotFoundException from None
    from health_services.calendars import ics  # noqa: PLC0415 - its library is large, and few requests are about calendars

    trail.via = "calendar feed"
    rows = await feeds.feed(owner, now - PAST, now, MOST)
    trail.concerns(*{row.patient_id for row in rows if row.appointment_id is not None})
    say = _speaker(rows[0], default_locale)
    entries = [
        ics.entry_of(row, say, is_own=row.patient_id == owner.patient_id)
        for row in rows
        if row.appointment_id is not None
    ]
    # Two thousand entries take a second to write; others are answered meanwhile.
    return await asyncio.to_thread(ics.calendar, entries, method="PUBLISH", name=say("Appointments"))


async def single(session: AsyncSession, caller: Caller, appointment_id: int, default_locale: str) -> bytes:
    """One appointment as a file in the caller's language; whether he may read it, whoever calls this has asked.

    Raises ResourceNotFoundException.
    """
    from health_services.calendars import ics  # noqa: PLC0415 - its library is large, and few requests are about calendars

    row = await CalendarRepository(session).one(appointment_id, caller.id)
    if row is None:
        raise ResourceNotFoundException("There is no such appointment.")
    return ics.calendar([ics.entry_of(row, _speaker(row, default_locale), is_own=True)], method="PUBLISH")


def _speaker(row: AnyRow, default_locale: str) -> Speaker:
    return Speaker(locale_for(row.locale, row.preferred_language, default=default_locale))


def _hash(token: str) -> bytes:
    """What stands for the token in the database; the token is random, so that no salt is needed."""
    return hashlib.sha256(token.encode()).digest()
