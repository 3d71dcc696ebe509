"""Which messages an event calls for, and when: rules without a database, a clock or a network.

Quiet hours are wall times, `from` included, `until` not, in the person's zone or else the clinic's. A reminder that
would fall into them moves to their end; if that is less than an hour before the visit, to the minute before they
begin; and if that has passed, it comes an hour before the visit all the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from health_services.notifications.models import MAILED_KINDS, SECURITY_KINDS, Channel, Kind, State

LAST_CALL = timedelta(hours=1)
# A cancellation is worth telling even if the visit was about to begin.
CANCELLATION_MATTERS = timedelta(hours=24)
NO_ADDRESS = "no address"
_CHANNELS = frozenset(Channel)


@dataclass(frozen=True)
class QuietHours:
    """From one wall time to another, over midnight where `until` is the earlier; never a whole day."""

    since: time
    until: time

    def hold(self, at: datetime, zone: ZoneInfo) -> bool:
        """Whether the instant lies in them."""
        wall = at.astimezone(zone).time()
        if self.since < self.until:
            return self.since <= wall < self.until
        return wall >= self.since or wall < self.until

    def end_after(self, at: datetime, zone: ZoneInfo) -> datetime:
        """The first instant after `at` that is not quiet any more, where `at` is quiet."""
        local = at.astimezone(zone)
        day = local.date() + timedelta(days=0 if local.time() < self.until else 1)
        ends = _instants(datetime.combine(day, self.until), zone)
        return next((end for end in ends if end > at and not self.hold(end, zone)), ends[-1])

    def eve_of(self, at: datetime, zone: ZoneInfo) -> datetime:
        """The minute before they began, where `at` is quiet."""
        local = at.astimezone(zone)
        day = local.date() - timedelta(days=0 if local.time() >= self.since else 1)
        return _instants(datetime.combine(day, self.since), zone)[0] - timedelta(minutes=1)


def _instants(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """The instants that a wall time may mean where clocks change (PEP 495), earliest first."""
    return sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


@dataclass(frozen=True)
class Contact:
    """How a person can be reached, and wants to be."""

    user_id: int
    addresses: frozenset[Channel]
    channels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lead_minutes: tuple[int, ...] = (1440, 120)
    quiet: QuietHours | None = None
    time_zone: str | None = None

    @classmethod
    def read(cls, answer: str | Mapping[str, Any]) -> "Contact":
        """From what the database's `contact_of` says."""
        facts = orjson.loads(answer) if isinstance(answer, str) else answer
        since, until = facts["quiet_from"], facts["quiet_until"]
        has = {Channel.EMAIL: "has_email", Channel.SMS: "has_mobile", Channel.PUSH: "has_push"}
        return cls(
            user_id=facts["user_id"],
            addresses=frozenset(channel for channel, name in has.items() if facts[name]),
            channels=facts["channels"],
            lead_minutes=tuple(facts["reminder_lead_minutes"]),
            quiet=QuietHours(time.fromisoformat(since), time.fromisoformat(until)) if since else None,
            time_zone=facts["time_zone"],
        )

    def wanted(self, kind: Kind) -> list[Channel]:
        """The channels for this kind of message, in order; none where the person wants none."""
        if kind in MAILED_KINDS:
            return [Channel.EMAIL]
        chosen = [Channel(name) for name in self.channels.get(kind, list(Channel)) if name in _CHANNELS]
        if kind in SECURITY_KINDS and Channel.EMAIL not in chosen:
            return [Channel.EMAIL, *chosen]
        return chosen

    def usable(self, kind: Kind, after: Channel | None = None) -> list[Channel]:
        """The wanted channels with an address, in order; from the one after a channel that failed, all the others."""
        wanted = self.wanted(kind)
        if after in wanted:
            place = wanted.index(after)
            wanted = wanted[place + 1 :] + wanted[:place]
        return [channel for channel in wanted if channel in self.addresses]


@dataclass(frozen=True)
class PlannedVisit:
    """The appointment that a message is about, as it stands now."""

    appointment_id: int
    revision: int
    starts_at: datetime
    time_zone: str

    @property
    def subject(self) -> str:
        """What ledger and webhooks call it."""
        return f"appointment:{self.appointment_id}"


@dataclass(frozen=True)
class Message:
    """A row of the ledger to be; `data` holds facts that only the moment knows, nothing personal."""

    kind: Kind
    channel: Channel
    user_id: int
    subject: str
    revision: int
    due_at: datetime
    appointment_id: int | None = None
    lead_minutes: int | None = None
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    state: State = State.QUEUED
    last_error: str | None = None

    @property
    def dedupe_key(self) -> str:
        """Kind, recipient, channel, subject, its revision and the lead time: one row for each, for ever."""
        lead = "-" if self.lead_minutes is None else self.lead_minutes
        return f"{self.kind}/{self.user_id}/{self.channel}/{self.subject}/{self.revision}/{lead}"

    def row(self) -> dict[str, Any]:
        """The columns."""
        return {**vars(self), "dedupe_key": self.dedupe_key, "is_unreachable": self.state is State.FAILED}


def zone_of(name: str | None, otherwise: str | None = None) -> ZoneInfo:
    """The zone of that name, else the other one, else UTC: a name that is no longer known stops no message."""
    for candidate in (name, otherwise):
        try:
            if candidate:
                return ZoneInfo(candidate)
        except (KeyError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def at_once(kind: Kind, contact: Contact, visit: PlannedVisit, now: datetime, data: Mapping[str, Any]) -> list[Message]:
    """The message that tells of an event, on the person's first channel; none if he wants none of this kind."""
    expires_at = visit.starts_at
    if kind is Kind.APPOINTMENT_CANCELLED:
        expires_at = max(visit.starts_at, now + CANCELLATION_MATTERS)
    return _told_now(kind, contact, due_at=now, expires_at=expires_at, data=data, **_about(visit))


def reminders(contact: Contact, visit: PlannedVisit, now: datetime) -> list[Message]:
    """The reminders that still lie ahead; of two that quiet hours move to one instant, the later one of the two.

    Who has no address now may have one when the time comes.
    """
    wanted = contact.wanted(Kind.APPOINTMENT_REMINDER)
    if not wanted:
        return []
    channel = next(iter(contact.usable(Kind.APPOINTMENT_REMINDER)), wanted[0])
    zone = zone_of(contact.time_zone, visit.time_zone)
    planned: dict[datetime, int] = {}
    for lead in sorted(set(contact.lead_minutes), reverse=True):
        due_at = visit.starts_at - timedelta(minutes=lead)
        if due_at > now:
            planned[out_of_quiet(due_at, visit.starts_at, contact.quiet, zone, now)] = lead
    return [
        Message(
            kind=Kind.APPOINTMENT_REMINDER,
            channel=channel,
            user_id=contact.user_id,
            due_at=due_at,
            expires_at=visit.starts_at,
            lead_minutes=lead,
            **_about(visit),
        )
        for due_at, lead in planned.items()
    ]


def out_of_quiet(
    due_at: datetime, starts_at: datetime, quiet: QuietHours | None, zone: ZoneInfo, now: datetime
) -> datetime:
    """When a reminder goes out that is due at that instant: never before `now`, never after the visit."""
    if quiet is None or not quiet.hold(due_at, zone):
        return due_at
    latest = starts_at - LAST_CALL
    morning = quiet.end_after(due_at, zone)
    if morning <= latest:
        return morning
    eve = quiet.eve_of(due_at, zone)
    return eve if eve > now else max(due_at, latest)


def notice(kind: Kind, contact: Contact, subject: str, now: datetime, data: Mapping[str, Any]) -> list[Message]:
    """A message about something other than an appointment, on the person's first channel, at once."""
    return _told_now(kind, contact, subject=subject, revision=0, due_at=now, data=data)


def mail(
    kind: Kind, user_id: int, subject: str, now: datetime, data: Mapping[str, Any], expires_at: datetime | None = None
) -> Message:
    """A message about something other than an appointment that goes by e-mail, whatever the person prefers."""
    return Message(kind, Channel.EMAIL, user_id, subject, 0, due_at=now, expires_at=expires_at, data=data)


def _about(visit: PlannedVisit) -> dict[str, Any]:
    return {
        "subject": visit.subject,
        "appointment_id": visit.appointment_id,
        "revision": visit.revision,
        "starts_at": visit.starts_at,
    }


def _told_now(kind: Kind, contact: Contact, **values: Any) -> list[Message]:
    """At most one message; who has no address is on the call list from the start."""
    wanted, usable = contact.wanted(kind), contact.usable(kind)
    if not wanted:
        return []
    if not usable:
        values |= {"state": State.FAILED, "last_error": NO_ADDRESS}
    return [Message(kind=kind, channel=[*usable, *wanted][0], user_id=contact.user_id, **values)]
