"""The ledger for those who may see it, and the planning of reminders anew."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from health_services.access.service import Caller
from health_services.database.base import AnyRow
from health_services.errors import ConflictException, ResourceNotFoundException
from health_services.notifications.models import MAILED_KINDS, State
from health_services.notifications.planning import Contact, Message, PlannedVisit, reminders
from health_services.notifications.repository import Ended, NotificationRepository
from health_services.pagination import Page

NONE = Ended()
# A message's state, kind and channel, each of which may be any.
Wanted = tuple[str | None, str | None, str | None]


async def replan(session: AsyncSession, user_id: int, now: datetime, instead_of: Ended = NONE) -> None:
    """Let a person's reminders follow from his wishes and appointments as they are now; none is sent twice.

    `instead_of`: the one, due already, that is not to be sent any more. One plan at a time is made for a person, so
    that the last one knows his last wishes.
    """
    notifications = NotificationRepository(session)
    await notifications.lock_plan(user_id)
    visits = await notifications.visits(user_id, now)
    if not visits and instead_of is NONE:
        return
    contact = Contact.read(await notifications.contact(user_id))
    planned: list[Message] = []
    for visit in visits:
        planned += reminders(contact, PlannedVisit(visit.id, visit.revision, visit.starts_at, visit.time_zone), now)
    await notifications.replan(
        user_id, [visit.id for visit in visits], [message.row() for message in planned], instead_of
    )


async def list_all(session: AsyncSession, caller: Caller, wanted: Wanted, page: Page) -> Sequence[AnyRow]:
    """Every message of these kinds to everybody; for administrators."""
    found = await NotificationRepository(session).list(*wanted, page)
    caller.trail.regards(*(row.user_id for row in page.cut(found)[0]))
    return found


async def retry(session: AsyncSession, caller: Caller, notification_id: int, now: datetime) -> AnyRow:
    """Let a message that was given up, or that waits for its next attempt, be tried again; answers it as it is then.

    Raises ResourceNotFoundException; ConflictException for one that has not failed, that comes too late, whose link
    is forgotten, or that another channel has taken over.
    """
    notifications = NotificationRepository(session)
    found = await notifications.get(notification_id, lock=True)
    if found is None:
        raise ResourceNotFoundException("There is no such message.")
    caller.trail.regards(found.user_id)
    if found.state != State.FAILED and not (found.state == State.QUEUED and found.attempts > 0):
        raise ConflictException(f"This message is {found.state}; only one that has failed can be tried again.")
    if found.expires_at is not None and found.expires_at <= now:
        raise ConflictException("It is too late for this message.")
    if found.state == State.FAILED and found.kind in MAILED_KINDS:
        raise ConflictException("The link of this message is forgotten; a new one has to be asked for.")
    elsewhere = await notifications.elsewhere(notification_id)
    if elsewhere is not None:
        raise ConflictException(f"This message is {elsewhere.state} by {elsewhere.channel}.")
    await notifications.retry(notification_id)
    changed = await notifications.get(notification_id)
    assert changed is not None, "the row is locked, and nothing deletes from the ledger"
    return changed


async def list_unreachable(session: AsyncSession, caller: Caller, now: datetime, page: Page) -> Sequence[AnyRow]:
    """Whom no channel reached and a call still could: everybody for administrators, their clinics' for staff."""
    clinics = None if caller.is_admin else sorted(caller.clinic_ids)
    found = await NotificationRepository(session).unreachable(clinics, now, page)
    caller.trail.regards(*(row.user_id for row in page.cut(found)[0]))
    caller.trail.concerns(*(row.patient_id for row in page.cut(found)[0] if row.patient_id is not None))
    return found
