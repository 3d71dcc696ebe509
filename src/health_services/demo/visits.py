"""Who sees whom, and what became of it."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from health_services.appointments.models import AppointmentStatus
from health_services.demo.geography import SITES
from health_services.demo.medicine import REASONS_TO_CANCEL
from health_services.demo.people import STAFF_PER_CLINIC, Doctor, Patient
from health_services.demo.timetable import Slot

PENDING, CONFIRMED = AppointmentStatus.PENDING, AppointmentStatus.CONFIRMED
CANCELLED, COMPLETED, NO_SHOW = AppointmentStatus.CANCELLED, AppointmentStatus.COMPLETED, AppointmentStatus.NO_SHOW
# How many visits patients have within the four weeks, and how many tries each gets to find a free place.
_VISITS = {0: 4, 1: 10, 2: 14, 3: 16, 4: 16, 5: 14, 6: 10, 8: 10, 10: 6}
_TRIES = 8
_BY_DOCTOR = 0.1
# How full the first doctor's days are, and the group sessions that have any taker.
_SHARE_SOON = 0.75
_SHARE_LATER = 0.3
_SHARE_OF_GROUPS = 0.9


@dataclass(frozen=True, slots=True)
class Visit:
    """A row of appointments; `patient`, `slot` and `booked_by` are places in the region's lists."""

    patient: int
    slot: int
    status: AppointmentStatus
    booked_by: int
    is_agreed: bool
    reason: str | None
    notes: str | None
    cancelled_at: datetime | None
    cancelled_reason: str | None


class Diary:
    """Plans visits one by one, each only where it fits: place, doctor's day, and the patient's own time."""

    def __init__(
        self,
        rng: random.Random,
        now: datetime,
        *,
        doctors: list[Doctor],
        patients: list[Patient],
        slots: list[Slot],
        limits: list[int],
        staff: list[int],
    ) -> None:
        self.visits: list[Visit] = []
        self._rng, self.now = rng, now
        self.doctors, self.patients, self.slots, self._limits, self._staff = doctors, patients, slots, limits, staff
        self._taken: Counter[int] = Counter()
        self._days: Counter[tuple[int, date]] = Counter()
        self._busy: defaultdict[int, list[Slot]] = defaultdict(list)
        self.slots_of: defaultdict[int, list[int]] = defaultdict(list)
        for number, slot in enumerate(slots):
            self.slots_of[slot.doctor].append(number)

    def enter(self, patient: int, number: int, status: AppointmentStatus | None = None) -> bool:
        """Plan a visit unless something stands against it; the answer tells."""
        slot = self.slots[number]
        status = status or self._status(slot)
        if not self._fits(patient, number, status):
            return False
        if status is not CANCELLED:
            self._taken[number] += 1
            self._days[slot.doctor, slot.day] += 1
        self._busy[patient].append(slot)
        self.visits.append(self._visit(patient, number, status))
        return True

    def _fits(self, patient: int, number: int, status: AppointmentStatus) -> bool:
        slot = self.slots[number]
        if status in {PENDING, CONFIRMED} and not self.patients[patient].is_active:
            return False
        if any(other.starts_at < slot.ends_at and slot.starts_at < other.ends_at for other in self._busy[patient]):
            return False
        if any(other.doctor == slot.doctor and other.day == slot.day for other in self._busy[patient]):
            return False
        day_is_full = self._days[slot.doctor, slot.day] >= self._limits[slot.doctor]
        return self._taken[number] < slot.capacity and not day_is_full

    def _status(self, slot: Slot) -> AppointmentStatus:
        if slot.ends_at <= self.now:
            return self._rng.choices((COMPLETED, NO_SHOW, CANCELLED), (80, 8, 12))[0]
        if slot.starts_at <= self.now:
            return CONFIRMED
        return self._rng.choices((CONFIRMED, PENDING, CANCELLED), (55, 33, 12))[0]

    def _visit(self, patient: int, number: int, status: AppointmentStatus) -> Visit:
        slot = self.slots[number]
        doctor = self.doctors[slot.doctor]
        reason, notes = self._rng.choice(doctor.specialty.visits)
        booked_by, is_agreed = self._booked_by(patient, doctor, status)
        is_cancelled = status is CANCELLED
        return Visit(
            patient=patient,
            slot=number,
            status=status,
            booked_by=booked_by,
            is_agreed=is_agreed,
            reason=reason if patient == 0 or self._rng.random() < 0.92 else None,
            notes=notes if status is COMPLETED else None,
            cancelled_at=self._cancelled_at(slot) if is_cancelled else None,
            cancelled_reason=self._rng.choice(REASONS_TO_CANCEL) if is_cancelled else None,
        )

    def _booked_by(self, patient: int, doctor: Doctor, status: AppointmentStatus) -> tuple[int, bool]:
        """Only the first patient can sign in and book; what a doctor booked and nobody confirmed is not agreed."""
        if patient == 0:
            return self.patients[0].person, True
        if self._rng.random() < _BY_DOCTOR:
            return doctor.person, status not in {PENDING, CANCELLED}
        return self._staff[doctor.clinic * STAFF_PER_CLINIC + self._rng.randrange(STAFF_PER_CLINIC)], True

    def _cancelled_at(self, slot: Slot) -> datetime:
        latest = min(self.now, slot.starts_at)
        return latest - timedelta(minutes=self._rng.randint(30, 5 * 24 * 60))


def make_visits(rng: random.Random, diary: Diary) -> None:
    """Fill the diary: first what the logins need to show, then everybody's visits, then group sessions."""
    _show_first_patient(rng, diary)
    soon = diary.now + timedelta(weeks=1)
    _fill(rng, diary, [number for number in diary.slots_of[0] if diary.slots[number].starts_at < soon], _SHARE_SOON)
    _fill(rng, diary, [number for number in diary.slots_of[0] if diary.slots[number].starts_at >= soon], _SHARE_LATER)
    popularity = [rng.choice((0.5, 1.0, 1.0, 2.5)) for _ in diary.doctors]
    for number, patient in enumerate(diary.patients):
        suitable = [doctor for doctor in range(len(diary.doctors)) if _suits(patient, diary.doctors[doctor])]
        own = rng.choices(suitable, [popularity[doctor] for doctor in suitable], k=4)
        for _ in range(4 if number == 0 else rng.choices(list(_VISITS), list(_VISITS.values()))[0]):
            tries = (diary.enter(number, rng.choice(diary.slots_of[rng.choice(own)])) for _ in range(_TRIES))
            any(tries)  # until one succeeds
    groups = [number for number, slot in enumerate(diary.slots) if slot.capacity > 1]
    _fill(rng, diary, rng.sample(groups, len(groups) // 6), _SHARE_OF_GROUPS)


def _suits(patient: Patient, doctor: Doctor) -> bool:
    """Whether the doctor works in the patient's city, in a field for that age and sex."""
    youngest, oldest = doctor.specialty.ages
    is_near = SITES[doctor.clinic].city is patient.city
    return is_near and youngest <= patient.age <= oldest and doctor.specialty.sex in {None, patient.sex}


def _fill(rng: random.Random, diary: Diary, slots: list[int], share: float) -> None:
    """Give this share of the places to whoever suits, except to the first patient, whose visits are chosen."""
    suitable = {
        number: [
            place for place, patient in enumerate(diary.patients) if place and _suits(patient, diary.doctors[number])
        ]
        for number in {diary.slots[number].doctor: None for number in slots}
    }
    for number in slots:
        slot = diary.slots[number]
        for patient in rng.sample(suitable[slot.doctor], min(slot.capacity, len(suitable[slot.doctor]))):
            if rng.random() < share:
                diary.enter(patient, number)


def _show_first_patient(rng: random.Random, diary: Diary) -> None:
    """The first patient's history with the first doctor, and what lies ahead of them."""
    ended = [number for number in diary.slots_of[0] if diary.slots[number].ends_at <= diary.now]
    ahead = [number for number in diary.slots_of[0] if diary.slots[number].starts_at > diary.now]
    for status, numbers in ((COMPLETED, ended), (COMPLETED, ended), (CANCELLED, ended),
                            (CONFIRMED, ahead), (PENDING, ahead), (CANCELLED, ahead)):  # fmt: skip
        while not diary.enter(0, rng.choice(numbers), status):
            pass
