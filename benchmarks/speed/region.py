"""The region that is asked: clinics, doctors with their weeks, people who are signed in; all follows from numbers.

Slot n is the n-th, counted week by week, in each week doctor by doctor: 100 a week, 20 a day from Monday to Friday. A
doctor has six weeks, so with the slots grows the number of doctors, and 25 of them are a clinic.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
from filling import fill_slots

from health_services.access.tokens import Tokens
from health_services.auth.passwords import Passwords
from health_services.settings import load_settings

A_DOCTOR, A_WEEK, A_DAY = 600, 100, 20
FEWEST_DOCTORS, DOCTORS_OF_A_CLINIC = 500, 25
PATIENTS, ACCOUNTS = 500, 100
PASSWORD = "three blue teapots"  # noqa: S105 - of people who do not exist
SECRET = "a secret of benchmarks, and long enough"  # noqa: S105 - for servers that end with the run
# More questions than are kept at any time, and few enough to be held.
MOST_QUESTIONS = 20_000

# People: the doctors first, then the patients, those who only sign in, and one administrator.
PEOPLE = """
    INSERT INTO clinics (id, name, time_zone, city) OVERRIDING SYSTEM VALUE
    SELECT n, 'Clinic ' || n, 'Europe/Berlin', 'City ' || n % 7 FROM generate_series(1, {clinics}) n;
    INSERT INTO users (id, name, email, password_hash, role) OVERRIDING SYSTEM VALUE
    SELECT n, 'Person ' || n, 'person' || n || '@example.org', '{password_hash}',
           (CASE WHEN n <= {doctors} THEN 'doctor' WHEN n = {people} THEN 'admin' ELSE 'patient' END)::user_role
    FROM generate_series(1, {people}) n;
    INSERT INTO doctors (id, user_id, clinic_id, specialty, license_number, max_patients_per_day)
    OVERRIDING SYSTEM VALUE
    SELECT n, n, 1 + (n - 1) % {clinics}, (ARRAY['Dermatology', 'Cardiology', 'Pediatrics', 'Neurology'])[1 + n % 4],
           'L' || n, {a_day} FROM generate_series(1, {doctors}) n;
    INSERT INTO patients (id, user_id) OVERRIDING SYSTEM VALUE
    SELECT n, {doctors} + n FROM generate_series(1, {people} - {doctors} - 1) n;
    INSERT INTO sessions (id, user_id, expires_at) OVERRIDING SYSTEM VALUE
    SELECT n, {doctors} + n, now() + interval '30 days' FROM generate_series(1, {people} - {doctors}) n;
    SELECT setval(pg_get_serial_sequence(name, 'id'), {people})
    FROM unnest(ARRAY['clinics', 'users', 'doctors', 'patients', 'sessions']) name"""


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in: his number as a patient, and the line of his token in the file of tokens."""

    id: int
    token: int


@dataclass(frozen=True)
class Region:
    """So many slots, and what follows from that; `tokens` is a file with an access token in each line."""

    slots: int
    tokens: Path

    @property
    def doctors(self) -> int:
        """How many."""
        return max(FEWEST_DOCTORS, math.ceil(self.slots / A_DOCTOR))

    @property
    def clinics(self) -> int:
        """How many."""
        return math.ceil(self.doctors / DOCTORS_OF_A_CLINIC)

    @property
    def monday(self) -> date:
        """The first day of all slots: the day after tomorrow, or the next Monday after that."""
        soon = datetime.now(UTC).date() + timedelta(days=2)
        return soon + timedelta(days=-soon.weekday() % 7)

    @property
    def patients(self) -> list[Person]:
        """Those who book, whose sessions nobody ends."""
        return [Person(n, n) for n in range(1, PATIENTS + 1)]

    @property
    def admin(self) -> Person:
        """The administrator, who is no patient."""
        return Person(0, PATIENTS + ACCOUNTS + 1)

    def doctor_of(self, slot: int) -> int:
        """Whose slot this is."""
        return 1 + (slot - 1) // A_WEEK % self.doctors

    def clinic_of(self, doctor: int) -> int:
        """Where a doctor works."""
        return 1 + (doctor - 1) % self.clinics

    async def fill(self, owner_url: str) -> float:
        """Make everything in a fresh database; the rows of slots a second. Raises SystemExit where it is not right."""
        password_hash = await _hash()
        owner = await asyncpg.connect(owner_url, command_timeout=4 * 3600)
        try:
            people = self.doctors + PATIENTS + ACCOUNTS + 1
            numbers = {"doctors": self.doctors, "clinics": self.clinics, "people": people, "a_day": A_DAY}
            await owner.execute(PEOPLE.format(password_hash=password_hash, **numbers))
            rate = await fill_slots(owner, self.slots, self.doctors, self.clinics, self.monday)
            await owner.execute("VACUUM ANALYZE")
        finally:
            await owner.close()
        self._issue_tokens()
        return rate

    def _issue_tokens(self) -> None:
        """Access tokens as the service itself would write them, for the sessions that were made."""
        tokens = Tokens((SECRET.encode(),), timedelta(days=1))
        now = datetime.now(UTC)
        written = [
            tokens.issue(self.doctors + n, "admin" if n == self.admin.token else "patient", n, now)
            for n in range(1, self.admin.token + 1)
        ]
        self.tokens.write_text("\n".join(written))
        self.tokens.chmod(0o600)


def spread(count: int, places: range) -> list[int]:
    """Of all numbers below `count`, in an order in which neighbours are far from each other, those at these places."""
    step = round(count * (math.sqrt(5) - 1) / 2) or 1
    while math.gcd(step, count) != 1:
        step += 1
    return [place * step % count for place in places]


async def _hash() -> str:
    """One hash for all, at the cost that is usual."""
    passwords = Passwords.of(load_settings())
    try:
        return await passwords.hash(PASSWORD)
    finally:
        passwords.close()


def line(method: str, path: str, token: int = 0, key: str = "", body: object = None) -> str:
    """A request as requests.lua reads it."""
    return "\t".join((method, path, str(token), key, json.dumps(body) if body is not None else ""))


def _instant(region: Region, n: int) -> str:
    """The n-th start of the first five weeks, counted by half-hours of the working day."""
    day = region.monday + timedelta(days=n // A_DAY // 5 * 7 + n // A_DAY % 5)
    return f"{day}T{8 + n % A_DAY // 2:02}:{n % 2 * 30:02}:00Z"


def lists_of_doctors(region: Region, path: str) -> list[str]:
    """A page of slots of a doctor from a day on, each asked for once."""
    every = _some(region.doctors * 25)
    return [line("GET", f"{path}?doctor_id={1 + n // 25}&date_from={_instant(region, n % 25 * A_DAY)}") for n in every]


def lists_of_clinics(region: Region, path: str) -> list[str]:
    """A page of slots of a clinic from an instant on, each asked for once."""
    starts = 25 * A_DAY
    every = _some(region.clinics * starts)
    return [line("GET", f"{path}?clinic_id={1 + n // starts}&date_from={_instant(region, n % starts)}") for n in every]


def single_slots(region: Region, path: str) -> list[str]:
    """One slot after the other."""
    return [line("GET", f"{path}/{1 + n}") for n in _some(region.slots)]


def logins(region: Region, path: str) -> list[str]:
    """Each of those who only sign in."""
    first = region.doctors + PATIENTS + 1
    emails = (f"person{n}@example.org" for n in range(first, first + ACCOUNTS))
    return [line("POST", path, body={"email": email, "password": PASSWORD}) for email in emails]


def _some(count: int) -> list[int]:
    return spread(count, range(min(count, MOST_QUESTIONS)))


@dataclass
class Bookings:
    """The slots of a region that nobody has booked yet, each handed out once."""

    region: Region
    _handed_out: int = 0

    def take(self, count: int, prefix: str) -> list[str]:
        """Requests that book distinct free slots far from each other; raises SystemExit where not so many are left."""
        region = self.region
        if self._handed_out + count > region.slots:
            raise SystemExit(f"{region.slots} slots are too few for so many bookings; choose more, or shorter runs.")
        patients = region.patients
        lines = []
        for place in self._places(count):
            slot, doctor = place + 1, region.doctor_of(place + 1)
            patient = patients[slot % len(patients)]
            body = {
                "patient_id": patient.id,
                "doctor_id": doctor,
                "clinic_id": region.clinic_of(doctor),
                "slot_id": slot,
            }
            lines.append(line("POST", f"{prefix}/appointments/book", patient.token, f"key-{slot}", body))
        return lines

    def take_back(self, count: int) -> None:
        """The last so many were not used."""
        self._handed_out -= max(count, 0)

    def take_slot(self) -> int:
        """The number of one free slot."""
        return self._places(1)[0] + 1

    def _places(self, count: int) -> list[int]:
        since, self._handed_out = self._handed_out, self._handed_out + count
        return spread(self.region.slots, range(since, since + count))


async def cancellations(owner_url: str, prefix: str) -> list[str]:
    """A request for each appointment that waits, by its patient, who has the same number as his token."""
    owner = await asyncpg.connect(owner_url)
    rows = await owner.fetch("SELECT id, patient_id FROM appointments WHERE status = 'pending' ORDER BY id")
    await owner.close()
    return [line("POST", f"{prefix}/appointments/{made}/cancel", patient, body={}) for made, patient in rows]
