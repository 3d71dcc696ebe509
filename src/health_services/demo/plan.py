"""The region as it will be, before any of it is written: the same seed and `now` make the same one."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from health_services.demo.geography import SITES
from health_services.demo.people import (
    Census,
    Doctor,
    Lead,
    Patient,
    Person,
    make_doctors,
    make_patients,
    make_staff,
)
from health_services.demo.timetable import Slot, limits, make_slots
from health_services.demo.visits import Diary, Visit, make_visits
from health_services.users.models import Role


@dataclass(frozen=True)
class Region:
    """Everything that is to be written; people refer to each other by their places in these lists."""

    people: list[Person]
    clinic_phones: list[str]
    staff: list[int]
    doctors: list[Doctor]
    limits: list[int]
    patients: list[Patient]
    slots: list[Slot]
    visits: list[Visit]

    @property
    def rows(self) -> int:
        """How many rows there are to write."""
        people = len(self.people) + len(self.staff) + len(self.doctors) + len(self.patients)
        return len(SITES) + people + len(self.slots) + len(self.visits)


def draw(seed: int, now: datetime, leads: dict[Role, Lead]) -> Region:
    """Invent the region of `seed` around `now`, with one lead for each role."""
    now = now.replace(microsecond=0)
    rng = random.Random(seed)  # noqa: S311 - an invention that can be repeated, no secret
    census = Census(rng)
    census.reserve(lead.name for lead in leads.values())
    clinic_phones = [census.phone(site.city) for site in SITES]
    admin = leads[Role.ADMIN]
    census.add(Role.ADMIN, SITES[0].city, admin.name, admin.email)
    staff = make_staff(rng, census, leads[Role.STAFF])
    doctors = make_doctors(rng, census, leads[Role.DOCTOR])
    patients = make_patients(rng, census, leads[Role.PATIENT], now.astimezone(UTC).date())
    slots = make_slots(rng, doctors, now)
    most = limits(rng, doctors, slots)
    diary = Diary(rng, now, doctors=doctors, patients=patients, slots=slots, limits=most, staff=staff)
    make_visits(rng, diary)
    return Region(census.people, clinic_phones, staff, doctors, most, patients, slots, diary.visits)
