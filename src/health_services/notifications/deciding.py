"""What to do with a message whose time has come: rules over one row of the ledger and all that belongs to it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from health_services.database.base import AnyRow
from health_services.notifications.models import Kind
from health_services.notifications.planning import Contact, out_of_quiet, zone_of

# Pauses after the first, second, … failed attempt; each is stretched or shrunk by up to a fifth.
PAUSES = tuple(timedelta(seconds=s) for s in (10, 30, 90, 300, 900, 1800, 3600, 3600, 7200, 7200, 14400))
ATTEMPTS = len(PAUSES) + 1
JITTER = 0.2
LONGEST_PAUSE = timedelta(hours=6)
# Somebody who reads at that moment is told, whatever the hour; what comes much later is a surprise.
PUNCTUAL = timedelta(minutes=2)


class Step(Enum):
    """What becomes of the message."""

    SEND = "send"
    SKIP = "skip"
    WAIT = "wait"
    REPLAN = "replan"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Decision:
    """A step, why, and for a wait until when."""

    step: Step
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Step.SEND)


def decide(row: AnyRow) -> Decision:
    """What is right at the instant `row.now`, at which the row was read."""
    reason = _why_not(row)
    if reason:
        return Decision(Step.SKIP, reason)
    if row.attempts > ATTEMPTS:
        return Decision(Step.GIVE_UP, "the worker ended in every attempt")
    if row.kind != Kind.APPOINTMENT_REMINDER:
        return _unless_unwanted(row)
    if row.told_starts_at != row.starts_at:
        return Decision(Step.REPLAN, "the visit was moved")
    contact = Contact.read(row.contact)
    if row.lead_minutes not in contact.lead_minutes or row.channel not in contact.wanted(Kind(row.kind)):
        # booked in the same moment in which the person changed his wishes
        return Decision(Step.REPLAN, "not wanted any more")
    if row.due_at > row.now:
        return Decision(Step.WAIT, "not due yet", row.due_at)
    return _unless_quiet(row, contact)


def _why_not(row: AnyRow) -> str | None:
    if not row.user_is_active or row.patient_is_active is False:
        return "the account or the patient is not active"
    if row.expires_at is not None and row.expires_at <= row.now:
        return "too late"
    if row.appointment_id is not None and row.kind != Kind.APPOINTMENT_CANCELLED and not row.is_live:
        return "the appointment is not live"
    if row.is_overtaken:
        return "a later reminder is due already"
    return None


def _unless_unwanted(row: AnyRow) -> Decision:
    """Who stopped this kind, or this channel for it, after the message was written, is not sent it there any more."""
    wanted = Contact.read(row.contact).wanted(Kind(row.kind))
    if row.channel in wanted:
        return SEND
    reason = "not wanted any more"
    return Decision(Step.GIVE_UP, reason) if wanted else Decision(Step.SKIP, reason)


def _unless_quiet(row: AnyRow, contact: Contact) -> Decision:
    """A reminder that is late, since the worker was down or the gateway was, still wakes nobody."""
    if row.now - row.due_at <= PUNCTUAL:
        return SEND
    zone = zone_of(contact.time_zone, row.time_zone)
    at = out_of_quiet(row.now, row.starts_at, contact.quiet, zone, row.now)
    return Decision(Step.WAIT, "quiet hours", at) if at > row.now else SEND


def pause(attempt: int, luck: float, asked: float | None) -> timedelta:
    """How long to wait after that attempt (from 1); `luck` from 0 to 1, `asked` the seconds the gateway wants."""
    planned = PAUSES[attempt - 1] * (1 - JITTER + 2 * JITTER * luck)
    return max(planned, min(timedelta(seconds=asked or 0), LONGEST_PAUSE))
