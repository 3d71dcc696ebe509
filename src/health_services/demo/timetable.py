"""When the doctors of the region see patients: four weeks of slots, laid out in the wall time of each clinic."""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from health_services.demo.geography import SITES
from health_services.demo.medicine import Specialty
from health_services.demo.people import Doctor

WEEKS = 4
WEEKS_PAST = 1
OPENS, CLOSES = 8 * 60, 17 * 60
# Short visits are offered on half days more often: nobody sees forty patients day after day.
_HALF_DAYS = {15: 1.0, 20: 0.8, 30: 0.4, 45: 0.1}


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of appointment_slots; `day` is the clinic's."""

    doctor: int
    day: date
    starts_at: datetime
    minutes: int
    capacity: int

    @property
    def ends_at(self) -> datetime:
        """When the next one may begin."""
        return self.starts_at + timedelta(minutes=self.minutes)


@dataclass(frozen=True, slots=True)
class Session:
    """A stretch of a weekday without a break, in minutes from midnight on the clinic's clock."""

    begins: int
    ends: int
    minutes: int
    capacity: int

    def starts(self) -> Iterator[int]:
        """The minute at which each slot begins."""
        return iter(range(self.begins, self.ends - self.minutes + 1, self.minutes))


Week = dict[int, list[Session]]


def make_slots(rng: random.Random, doctors: list[Doctor], now: datetime) -> list[Slot]:
    """Every slot of four weeks around `now`, doctor by doctor in order of time."""
    slots: list[Slot] = []
    for number, doctor in enumerate(doctors):
        zone = ZoneInfo(SITES[doctor.clinic].city.time_zone)
        first = now.astimezone(zone).date() - timedelta(weeks=WEEKS_PAST)
        is_lead = number == 0
        week = _week(rng, doctor.specialty, is_lead=is_lead)
        away = None if is_lead or rng.random() > 0.08 else rng.randrange(WEEKS)
        for offset in range(WEEKS * 7):
            if offset // 7 != away:
                day = first + timedelta(days=offset)
                slots += [
                    Slot(number, day, _instant(day, start, zone), session.minutes, session.capacity)
                    for session in week.get(day.weekday(), ())
                    for start in session.starts()
                ]
    return slots


def limits(rng: random.Random, doctors: list[Doctor], slots: list[Slot]) -> list[int]:
    """How many patients each doctor sees in a day: all places of the fullest day, or somewhat fewer."""
    places: Counter[tuple[int, date]] = Counter()
    for slot in slots:
        places[slot.doctor, slot.day] += slot.capacity
    fullest: Counter[int] = Counter()
    for (doctor, _), count in places.items():
        fullest[doctor] = max(fullest[doctor], count)
    return [
        max(4, math.ceil(fullest[number] * (0.7 if number == 0 else rng.choice((1, 1, 0.8)))))
        for number in range(len(doctors))
    ]


def _instant(day: date, minute: int, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone).astimezone(UTC)


def _week(rng: random.Random, specialty: Specialty, *, is_lead: bool) -> Week:
    """A doctor's usual week; the lead works from Monday to Friday, so that every day has something to show."""
    minutes = 20 if is_lead else rng.choice(specialty.minutes)
    days = 5 if is_lead else rng.choices((5, 4, 3), (30, 45, 25))[0]
    begins = rng.choice((OPENS, OPENS, OPENS + 30, OPENS + 60))
    noon = rng.choice((12 * 60, 12 * 60 + 30))
    resumes = noon + rng.choice((45, 60))
    ends = rng.choice((CLOSES - 60, CLOSES - 30, CLOSES))
    week: Week = {}
    for weekday in sorted(rng.sample(range(5), days)):
        halves = [(begins, noon), (resumes, ends)]
        if not is_lead and rng.random() < _HALF_DAYS[minutes]:
            halves = [rng.choice(halves)]
        week[weekday] = [_session(rng, specialty, half, minutes) for half in halves]
    return week


def _session(rng: random.Random, specialty: Specialty, half: tuple[int, int], minutes: int) -> Session:
    if specialty.group and rng.random() < 0.5:
        length, capacity = specialty.group
        return Session(*half, length, capacity)
    return Session(*half, minutes, 1)
