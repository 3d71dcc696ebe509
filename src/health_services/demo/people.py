"""Who lives and works in the region."""

import random
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from health_services.demo.geography import SITES, City
from health_services.demo.medicine import AGES, ALLERGIES, BLOOD_GROUPS, SPECIALTIES, Specialty
from health_services.demo.names import ASCII, TONGUES, Tongue
from health_services.patients.models import Sex
from health_services.users.models import Role

PATIENTS = 500
STAFF_PER_CLINIC = 2
_SEXES = {Sex.FEMALE: 500, Sex.MALE: 470, Sex.OTHER: 15, Sex.UNKNOWN: 15}


@dataclass(frozen=True, slots=True)
class Person:
    """A row of users."""

    name: str
    role: Role
    email: str | None
    mobile_no: str
    address: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Doctor:
    """A row of doctors; `person` and `clinic` are places in the region's lists."""

    person: int
    clinic: int
    specialty: Specialty
    license_number: str
    qualifications: str
    experience_years: int


@dataclass(frozen=True, slots=True)
class Patient:
    """A row of patients; `city` is where they live and seek care."""

    person: int
    city: City
    age: int
    date_of_birth: date
    sex: Sex
    blood_group: str | None
    allergies: str | None
    emergency_contact: str | None
    preferred_language: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Lead:
    """Somebody whose login is given out: the first of a role."""

    name: str
    email: str


class Census:
    """Makes people whose names, e-mail addresses and telephone numbers are each used once."""

    def __init__(self, rng: random.Random) -> None:
        self.people: list[Person] = []
        self._rng = rng
        self._taken: set[str] = set()
        self._phones = {site.city: _telephone_numbers(rng, site.city) for site in SITES}

    def reserve(self, names: Iterable[str]) -> None:
        """Keep names for those who are named beforehand."""
        self._taken.update(names)

    def phone(self, city: City) -> str:
        """A number of the range that is kept for fiction (555-0100 to 555-0199)."""
        return self._phones[city].pop()

    def add(self, role: Role, city: City, name: str, email: str | None, *, is_verified: bool = True) -> int:
        """Enter somebody with an address in the city; the answer is the place in `people`."""
        self._taken.add(name)
        street, zip_code = self._rng.choice(city.streets)
        flat = self._rng.choice(("", "", "", f", Apt {self._rng.randint(1, 6)}{self._rng.choice('ABCD')}"))
        address = f"{self._rng.randint(10, 989)} {street}{flat}, {city.name}, {city.state} {zip_code}"
        self.people.append(Person(name, role, email, self.phone(city), address, is_verified))
        return len(self.people) - 1

    def name(self, sex: Sex) -> tuple[str, Tongue]:
        """A name that nobody else has, and the language it comes from."""
        while True:
            (tongue,) = self._rng.choices(TONGUES, [tongue.weight for tongue in TONGUES])
            given = {Sex.FEMALE: tongue.female, Sex.MALE: tongue.male}.get(sex, tongue.female + tongue.male)
            name = f"{self._rng.choice(given)} {self._rng.choice(tongue.family)}"
            if name not in self._taken:
                return name, tongue

    def email(self, name: str, domain: str) -> str:
        """An address that nobody else has, at a domain where no mail arrives."""
        letters = unicodedata.normalize("NFKD", name.lower().replace(" ", ".").translate(ASCII))
        local = letters.encode("ascii", "ignore").decode()
        number = 2
        address = f"{local}@{domain}"
        while address in self._taken:
            address = f"{local}{number}@{domain}"
            number += 1
        self._taken.add(address)
        return address


def _telephone_numbers(rng: random.Random, city: City) -> list[str]:
    numbers = [f"+1-{area}-555-{last:04}" for area in city.area_codes for last in range(100, 200)]
    rng.shuffle(numbers)
    return numbers


def make_staff(rng: random.Random, census: Census, lead: Lead) -> list[int]:
    """Two persons at each clinic's desk, clinic after clinic; the lead is the first."""
    staff = []
    for number in range(len(SITES) * STAFF_PER_CLINIC):
        city = SITES[number // STAFF_PER_CLINIC].city
        name, _ = census.name(rng.choice((Sex.FEMALE, Sex.FEMALE, Sex.MALE)))
        who = lead if number == 0 else Lead(name, census.email(name, "example.org"))
        staff.append(census.add(Role.STAFF, city, who.name, who.email))
    return staff


def make_doctors(rng: random.Random, census: Census, lead: Lead) -> list[Doctor]:
    """The doctors, each specialty spread over the clinics; the lead is the first of the first clinic."""
    specialties = [specialty for specialty in SPECIALTIES for _ in range(specialty.doctors)]
    licenses = rng.sample(range(100_000, 1_000_000), len(specialties))
    doctors = []
    for number, specialty in enumerate(specialties):
        clinic = number % len(SITES)
        city = SITES[clinic].city
        name, _ = census.name(rng.choice((Sex.FEMALE, Sex.MALE)))
        who = lead if number == 0 else Lead(name, census.email(name, "example.org"))
        doctors.append(
            Doctor(
                person=census.add(Role.DOCTOR, city, who.name, who.email),
                clinic=clinic,
                specialty=specialty,
                license_number=f"{city.state}-{licenses[number]}",
                qualifications=rng.choice(specialty.qualifications),
                experience_years=round(rng.triangular(2, 38, 11)),
            )
        )
    return doctors


def make_patients(rng: random.Random, census: Census, lead: Lead, today: date) -> list[Patient]:
    """The patients, as many for each clinic's city; the lead is the first, a few of the last are inactive."""
    return [_patient(rng, census, number, lead if number == 0 else None, today) for number in range(PATIENTS)]


def _patient(rng: random.Random, census: Census, number: int, lead: Lead | None, today: date) -> Patient:
    city = SITES[number % len(SITES)].city
    age = 36 if lead else _age(rng)
    sex = Sex.FEMALE if lead else rng.choices(list(_SEXES), list(_SEXES.values()))[0]
    name, tongue = census.name(sex)
    has_email = age >= 16 and rng.random() < 0.75
    email = census.email(name, "example.com") if has_email else None
    who = lead.name if lead else name
    groups, weights = list(BLOOD_GROUPS), list(BLOOD_GROUPS.values())
    return Patient(
        person=census.add(Role.PATIENT, city, who, lead.email if lead else email, is_verified=lead is not None),
        city=city,
        age=age,
        date_of_birth=today - timedelta(days=round(age * 365.25) + rng.randint(1, 360)),
        sex=sex,
        blood_group=rng.choices(groups, weights)[0] if lead or rng.random() < 0.85 else None,
        allergies=ALLERGIES[0] if lead else rng.choice(ALLERGIES) if rng.random() < 0.35 else None,
        emergency_contact=_contact(rng, census.phone(city), who, age, tongue) if lead or rng.random() < 0.7 else None,
        preferred_language=tongue.language if not lead and rng.random() < 0.4 else "en",
        is_active=number % 125 != 124,
    )


def _age(rng: random.Random) -> int:
    (group,) = rng.choices(AGES, [share for _, _, share in AGES])
    return rng.randrange(group[0], group[1])


def _contact(rng: random.Random, phone: str, name: str, age: int, tongue: Tongue) -> str:
    sex = rng.choice((Sex.FEMALE, Sex.MALE))
    if age < 18:
        relation = "mother" if sex is Sex.FEMALE else "father"
    else:
        relation = rng.choice(("spouse", "partner", "sister" if sex is Sex.FEMALE else "brother", "friend"))
    given = rng.choice(tongue.female if sex is Sex.FEMALE else tongue.male)
    return f"{given} {name.rpartition(' ')[2]} ({relation}), {phone}"
