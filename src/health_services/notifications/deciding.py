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
    REROUTE = "reroute"
    GIVE_UP = "give up"
    CALL = "call"


@dataclass(frozen=True)
class Decision:
    """A step, why, and for a wait until when."""

    step: Step
    reason: str = ""
    until: datetime | None = None


SEND = Decision(Step.SEND)
NOT_WANTED = "not wanted any more"


def decide(row: AnyRow) -> Decision:
    """What is right at the instant `row.now`, at which the row was read."""
    reason = _why_not(row)
    if reason:
        return Decision(Step.SKIP, reason)
    if not row.user_is_active:
        # nobody reads there any more, and the visit is still to be
        return Decision(Step.CALL, "the account is not active")
    if row.attempts > ATTEMPTS:
        return Decision(Step.GIVE_UP, "the worker ended in every attempt")
    if row.kind != Kind.APPOINTMENT_REMINDER:
        return _unless_unwanted(row)
    if row.told_starts_at != row.starts_at:
        return Decision(Step.REPLAN, "the visit was moved")
    contact = Contact.read(row.contact)
    wanted = contact.wanted(Kind(row.kind))
    if row.lead_minutes not in contact.lead_minutes or not wanted:
        # booked in the same moment in which the person changed his wishes
        return Decision(Step.REPLAN, NOT_WANTED)
    if row.due_at > row.now:
        is_planned_well = row.channel in wanted
        return Decision(Step.WAIT, "not due yet", row.due_at) if is_planned_well else Decision(Step.REPLAN, NOT_WANTED)
    return _unless_quiet(row, contact) or _unless_unwanted(row)


def _why_not(row: AnyRow) -> str | None:
    if row.patient_is_active is False:
        return "the patient is not active"
    if row.appointment_id is None and not row.user_is_active:
        return "the account is not active"
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
    return Decision(Step.REROUTE if wanted else Step.SKIP, NOT_WANTED)


def _unless_quiet(row: AnyRow, contact: Contact) -> Decision | None:
    """A reminder that is late, since the worker was down or the gateway was, still wakes nobody."""
    if row.now - row.due_at <= PUNCTUAL:
        return None
    zone = zone_of(contact.time_zone, row.time_zone)
    at = out_of_quiet(row.now, row.starts_at, contact.quiet, zone, row.now)
    return Decision(Step.WAIT, "quiet hours", at) if at > row.now else None


def pause(attempt: int, luck: float, asked: float | None) -> timedelta:
    """How long to wait after that attempt (from 1); `luck` from 0 to 1, `asked` the seconds the gateway wants."""
    planned = PAUSES[attempt - 1] * (1 - JITTER + 2 * JITTER * luck)
    return max(planned, min(timedelta(seconds=asked or 0), LONGEST_PAUSE))
